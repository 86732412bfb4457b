#include "worker/parallel/gloo_links.h"

#include <unistd.h>

#include <algorithm>
#include <future>
#include <thread>
#include <utility>
#include <vector>

// libtorch is built with it; its header asks.
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "shared/base/clock.h"
#include "shared/base/tcp_address.h"
#include "worker/parallel/gloo_guard.h"

namespace shardline {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kFlag = "--rendezvous";
// GlooGroup has limits of its own.
constexpr milliseconds kForever = std::chrono::hours(24 * 365);

class InFlight final : public GlooMessage {
 public:
  explicit InFlight(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
  absl::Status Wait() override {
    bool done = false;
    SL_RETURN_IF_ERROR(Guarded("connection", [&] { done = work_->wait(kForever); }));
    return done ? absl::OkStatus() : absl::CancelledError("cancelled");
  }
  void Cancel() override {
    (void)Guarded("cancel", [&] { work_->abort(); });
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
};

class Links final : public GlooLinks {
 public:
  explicit Links(c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo) : gloo_(std::move(gloo)) {}

  absl::StatusOr<std::unique_ptr<GlooMessage>> Send(int to, int lane, const void* data,
                                                    size_t bytes) override {
    return Post("send", const_cast<void*>(data), bytes,
                [&](std::vector<at::Tensor>& tensors) { return gloo_->send(tensors, to, lane); });
  }
  absl::StatusOr<std::unique_ptr<GlooMessage>> Receive(int from, int lane, void* data,
                                                       size_t bytes) override {
    return Post("receive", data, bytes, [&](std::vector<at::Tensor>& tensors) {
      return from == kAnyRank ? gloo_->recvAnysource(tensors, lane)
                              : gloo_->recv(tensors, from, lane);
    });
  }

 private:
  template <typename Start>
  absl::StatusOr<std::unique_ptr<GlooMessage>> Post(std::string_view doing, void* data,
                                                    size_t bytes, const Start& start) {
    std::unique_ptr<GlooMessage> message;
    SL_RETURN_IF_ERROR(Guarded(doing, [&] {
      std::vector<at::Tensor> tensors = {
          at::from_blob(data, {static_cast<int64_t>(bytes)}, at::kByte)};
      std::lock_guard lock(mutex_);
      message = std::make_unique<InFlight>(start(tensors));
    }));
    return message;
  }

  std::mutex mutex_;  // c10d counts its calls without one
  const c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
};

// ---- joining ----

class Rendezvous {
 public:
  explicit Rendezvous(GlooGroupOptions options)
      : options_(std::move(options)), deadline_(DeadlineAfter(options_.limit)) {}
  ~Rendezvous() {
    if (options_.listen_fd >= 0) close(options_.listen_fd);
  }

  absl::StatusOr<std::unique_ptr<GlooLinks>> Join() {
    if (options_.rank == 0 && options_.listen_fd < 0 && options_.store == nullptr) {
      SL_ASSIGN_OR_RETURN(options_.listen_fd, ListenAt(options_.host, options_.port, kFlag));
    }
    SL_ASSIGN_OR_RETURN(const std::string towards,
                        AddressTowards(options_.host, options_.port, deadline_, kFlag));
    if (options_.address.empty()) options_.address = towards;
    SL_RETURN_IF_ERROR(OpenStore());
    SL_RETURN_IF_ERROR(TakeRank());
    SL_RETURN_IF_ERROR(AwaitRanks());
    c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
    SL_RETURN_IF_ERROR(Guarded(Where(), [&] { gloo = MakeGloo(); }));
    return std::make_unique<Links>(std::move(gloo));
  }

 private:
  std::string Where() const { return Cat(kFlag, " ", options_.host, ":", options_.port); }
  milliseconds Left() const {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
    return std::max(left, milliseconds(1));
  }
  static std::string KeyOf(int rank) { return Cat("rank/", rank); }

  // The caller's store, or an own one.
  absl::Status OpenStore() {
    if (options_.store == nullptr) {
      SL_ASSIGN_OR_RETURN(
          options_.store,
          GlooStore::Open(options_.host, options_.port,
                          options_.rank == 0 ? std::exchange(options_.listen_fd, -1) : -1, Left()));
    }
    c10d::Store& store = options_.store->raw();
    store.setTimeout(std::max(Left(), milliseconds(1000)));  // it counts whole seconds
    store_ = c10::make_intrusive<c10d::PrefixStore>(
        Cat("shardline/", options_.epoch),
        c10::intrusive_ptr<c10d::Store>::unsafe_reclaim_from_nonowning(&store));
    return absl::OkStatus();
  }

  absl::Status TakeRank() {
    int64_t holders = 0;
    std::string size;
    SL_RETURN_IF_ERROR(Guarded(Where(), [&] {
      const std::string own = Cat(options_.size);
      const std::vector<uint8_t> mine(own.begin(), own.end());
      const auto agreed = store_->compareSet("size", std::vector<uint8_t>(), mine);
      size.assign(agreed.begin(), agreed.end());
      if (size == own) holders = store_->add(KeyOf(options_.rank), 1);
    }));
    if (holders == 0) {
      return InvalidArgument("group: --nodes: rank ", options_.rank, " is of ", options_.size,
                             " ranks, others are of ", size);
    }
    if (holders > 1) return FailedPrecondition("group: rank ", options_.rank, " is taken");
    return absl::OkStatus();
  }

  absl::Status AwaitRanks() {
    std::vector<std::string> missing;
    for (;;) {
      missing.clear();
      SL_RETURN_IF_ERROR(Guarded(Where(), [&] {
        for (int rank = 0; rank < options_.size; ++rank) {
          if (!store_->check({KeyOf(rank)})) missing.push_back(Cat(rank));
        }
      }));
      if (missing.empty()) return absl::OkStatus();
      if (Clock::now() >= deadline_) break;
      std::this_thread::sleep_for(std::min(Left(), milliseconds(20)));
    }
    std::string names;
    for (const std::string& rank : missing) names += Cat(names.empty() ? "" : ", ", rank);
    return DeadlineExceeded("group: rank ", names, " has not joined within ",
                            std::chrono::duration<double>(options_.limit).count(), " s (", Where(),
                            ", --nodes)");
  }

  c10::intrusive_ptr<c10d::ProcessGroupGloo> MakeGloo() {
    auto options = c10d::ProcessGroupGloo::Options::create(Left());
    options->threads = 1;  // for gloo's collectives, which are not used
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options_.address));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store_, options_.rank, options_.size,
                                                       options);
  }

  GlooGroupOptions options_;
  const Clock::time_point deadline_;
  c10::intrusive_ptr<c10d::PrefixStore> store_;
};

}  // namespace

// Calls to the store have no limit when its process is stopped, so they are made in a thread that
// is left behind when it is late.
absl::StatusOr<std::unique_ptr<GlooLinks>> GlooLinks::Connect(const GlooGroupOptions& options) {
  using Result = absl::StatusOr<std::unique_ptr<GlooLinks>>;
  auto joining = std::make_shared<Rendezvous>(options);
  std::packaged_task<Result()> task([joining] { return joining->Join(); });
  std::future<Result> result = task.get_future();
  joining.reset();
  std::thread(std::move(task)).detach();
  if (result.wait_for(options.limit + std::chrono::seconds(2)) == std::future_status::ready) {
    return result.get();
  }
  return DeadlineExceeded("group: ", kFlag, ": rank 0 at ", options.host, ":", options.port,
                          " has stopped answering");
}

}  // namespace shardline
