// What rank 0 may broadcast, as other ranks take it: orders are read from the bytes, sent again as
// rank 0 would, and replayed by followers on tiny models. Every page ends in an order that is sent
// back with the same bytes, or in a one-line error; a plan that is one is computed, or refused.
//
// The input is what rank 0 sends, but for the zeros that fill a page.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernels/ops.h"
#include "tests/fuzz/mutate.h"
#include "worker/engine/follower.h"

namespace shardline {
namespace {

using Order = PlanBroadcast::Order;

constexpr int kSlots = 3;
constexpr int64_t kContext = 64, kBatch = 16;
constexpr size_t kHeaderBytes = 24;
constexpr int kMaxOrders = 16;

// The other end of the broadcasts: gives what was recorded, or records.
class Wire : public ProcessGroup {
 public:
  explicit Wire(std::string bytes, int rank) : bytes_(std::move(bytes)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return 2; }
  absl::Status AllReduce(const View&) override { return absl::OkStatus(); }
  absl::Status AllGather(const View&, const View&) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  void SetLimit(std::chrono::nanoseconds) override {}
  void Abort(std::string_view) override {}
  absl::Status ended() const override { return absl::OkStatus(); }

  absl::Status Broadcast(const View& data, int) override {
    auto* to = static_cast<char*>(data.data);
    const size_t size = data.bytes();
    const bool page = size == PlanBroadcast::kPageBytes;
    if (rank_ == 0) {
      bytes_.append(to, page ? std::min(size, kHeaderBytes + Announced(to)) : size);
      return absl::OkStatus();
    }
    const std::string_view rest = std::string_view(bytes_).substr(at_);
    if (rest.empty()) return absl::UnavailableError("rank 0 has ended");
    uint64_t wanted = size;
    if (page && rest.size() >= kHeaderBytes) wanted = kHeaderBytes + Announced(rest.data());
    const size_t given = std::min<uint64_t>({wanted, size, rest.size()});
    std::memcpy(to, rest.data(), given);
    std::memset(to + given, 0, size - given);
    at_ += given;
    return absl::OkStatus();
  }
  const std::string& bytes() const { return bytes_; }

 private:
  // Bytes of the plan behind a header, as far as they could be of one page.
  static uint64_t Announced(const char* header) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, header + 16, sizeof(bytes));
    return std::min<uint64_t>(bytes, PlanBroadcast::kPageBytes);
  }

  std::string bytes_;
  size_t at_ = 0;
  const int rank_;
};

void CheckError(const absl::Status& status) {
  if (status.ok() || Message(status).find('\n') != std::string::npos) std::abort();
}

// Reads orders, and gives what rank 0 would send for them.
std::string SentAgain(std::string input) {
  Wire from(std::move(input), 1), to("", 0);
  PlanBroadcast reading(from, 1), sending(to, 1);
  StepPlan plan;
  for (int i = 0; i < kMaxOrders; ++i) {
    const auto order = reading.Next(plan);
    if (!order.ok()) {
      CheckError(order.status());
      break;
    }
    absl::Status sent;
    if (*order == Order::kStep) sent = sending.Step(plan);
    if (*order == Order::kWait) sent = sending.Wait();
    if (*order == Order::kStop) return to.bytes();
    if (!sent.ok()) std::abort();
  }
  if (!sending.Stop().ok()) std::abort();
  return to.bytes();
}

std::unique_ptr<Model> Load(const char* name) {
  ModelOptions options;
  options.path = Cat(SHARDLINE_SOURCE_DIR "/tests/golden/", name);
  options.dtype = "f32";
  options.ops = &CpuOps();
  options.max_batch_tokens = kBatch;
  options.max_context = kContext;
  auto model = Model::Load(options, nullptr);
  if (!model.ok()) std::abort();
  return *std::move(model);
}

void Follow(Model& model, const std::string& orders) {
  Wire wire(orders, 1);
  PlanBroadcast plans(wire, 1);
  const std::vector<int32_t> blocks(model.state_groups().size(), 6);
  const auto state = StateStorage::Create(model.state_groups(), blocks, kSlots, kContext);
  if (!state.ok()) std::abort();
  const absl::Status status = Follower(plans, model, **state, nullptr).Run();
  if (!status.ok() && status.code() != absl::StatusCode::kUnavailable) CheckError(status);
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Paged state, with a window, and recurrent state.
  static const std::unique_ptr<shardline::Model> models[] = {
      shardline::Load("llama"), shardline::Load("gemma2"), shardline::Load("mamba")};
  const std::string orders =
      shardline::SentAgain(std::string(reinterpret_cast<const char*>(data), size));
  for (const auto& model : models) shardline::Follow(*model, orders);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(shardline::fuzz::MutatePlans, data, size, max_size, seed);
}
