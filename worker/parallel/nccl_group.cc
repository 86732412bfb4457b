#include "worker/parallel/nccl_group.h"

#include <algorithm>
#include <thread>

namespace shardline {
namespace {

// How long the device may take to end a call after a rank has left, having done its part.
constexpr std::chrono::seconds kGrace{1};

NcclType TypeOf(DType type) {
  return type == DType::kF32 ? kNcclFloat32 : type == DType::kBF16 ? kNcclBfloat16 : kNcclFloat16;
}

View Elements(const View& data, int64_t begin, int64_t count) {
  auto* at = data.as<std::byte>() + begin * static_cast<int64_t>(SizeOf(data.type));
  return View::Contiguous(at, data.type, {count});
}

}  // namespace

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Create(const NcclApi& api, ProcessGroup& host,
                                                             DeviceStream& stream,
                                                             const NcclGroupOptions& options) {
  if (options.limit <= std::chrono::nanoseconds::zero()) {
    return InvalidArgument("group: limit is ", options.limit.count(), " ns");
  }
  std::unique_ptr<NcclGroup> group(new NcclGroup(api, host, stream, options));
  SL_RETURN_IF_ERROR(group->Join());
  return group;
}

absl::Status NcclGroup::Join() {
  NcclUniqueId id{};
  if (rank() == 0) {
    const NcclResult result = api_.GetUniqueId(&id);
    if (result != kNcclSuccess) return Fail(Broken(result));
  }
  SL_RETURN_IF_ERROR(
      host_.Broadcast(View::Contiguous(&id, DType::kU8, {static_cast<int64_t>(sizeof(id))}), 0));
  const auto scratch =
      static_cast<size_t>(std::max(size() * kOneShotBytes, kPieceBytes + size() * int64_t{256}));
  const auto memory = stream_.Allocate(scratch);
  if (!memory.ok()) return Fail(memory.status());
  scratch_ = static_cast<std::byte*>(*memory);
  deadline_ = DeadlineAfter(options_.limit);
  NcclConfig config;
  config.blocking = 0;
  return Queued(api_.CommInitRankConfig(&comm_, size(), id, rank(), &config));
}

NcclGroup::~NcclGroup() {
  if (comm_ != nullptr) {
    deadline_ = DeadlineAfter(std::min<std::chrono::nanoseconds>(options_.limit, kGrace));
    const NcclResult result = api_.CommFinalize(comm_);
    NcclResult state = result;
    while (state == kNcclInProgress && Clock::now() < deadline_) {
      if (api_.CommGetAsyncError(comm_, &state) != kNcclSuccess) break;
      if (state == kNcclInProgress) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    (void)(state == kNcclSuccess ? api_.CommDestroy(comm_) : api_.CommAbort(comm_));
  }
  if (scratch_ != nullptr) stream_.Free(scratch_);
}

// ---- the calls ----

absl::Status NcclGroup::StartCall(GroupCall call) {
  call_ = call;
  deadline_ = DeadlineAfter(options_.limit);
  const absl::Status ended = host_.ended();
  if (!ended.ok() && !absl::IsCancelled(ended)) return Fail(ended);
  return comm_ == nullptr ? Fail(Unavailable("group: has ended")) : absl::OkStatus();
}

absl::Status NcclGroup::AllReduce(const View& data) {
  SL_RETURN_IF_ERROR(CheckAllReduce(data));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllReduce));
  const int64_t n = data.elements();
  if (size() == 1 || n == 0) return absl::OkStatus();
  if (!options_.rank_order) {
    SL_RETURN_IF_ERROR(
        Queued(api_.AllReduce(data.data, data.data, static_cast<size_t>(n), TypeOf(data.type),
                              kNcclSum, comm_, stream_.handle())));
    return Finish();
  }
  if (static_cast<int64_t>(data.bytes()) <= kOneShotBytes) return OneShot(data);
  const int64_t most = kPieceBytes / static_cast<int64_t>(SizeOf(data.type));
  for (int64_t begin = 0; begin < n; begin += most) {
    SL_RETURN_IF_ERROR(TwoShot(Elements(data, begin, std::min(most, n - begin))));
  }
  return Finish();
}

absl::Status NcclGroup::OneShot(const View& data) {
  const size_t bytes = data.bytes();
  SL_RETURN_IF_ERROR(
      Queued(api_.AllGather(data.data, scratch_, bytes, kNcclUint8, comm_, stream_.handle())));
  std::vector<const void*> parts(size());
  for (int r = 0; r < size(); ++r) parts[r] = scratch_ + r * bytes;
  if (const auto status = stream_.Sum(parts, data); !status.ok()) return Fail(status);
  return Finish();
}

// Rank r gets and adds slice r of all parts, then everyone gets the sums from where they were made.
absl::Status NcclGroup::TwoShot(const View& piece) {
  auto* data = piece.as<std::byte>();
  const auto bytes = static_cast<int64_t>(piece.bytes());
  const Span own = Slice(bytes, rank());
  std::vector<Span> slices(size()), same(size(), own), places(size());
  for (int r = 0; r < size(); ++r)
    slices[r] = Slice(bytes, r), places[r] = {r * own.size, own.size};
  SL_RETURN_IF_ERROR(Exchange(slices, data, places, scratch_));
  std::vector<const void*> parts(size());
  for (int r = 0; r < size(); ++r) {
    parts[r] = r == rank() ? data + own.begin : scratch_ + places[r].begin;
  }
  const int64_t elements = own.size / static_cast<int64_t>(SizeOf(piece.type));
  const View sum = View::Contiguous(data + own.begin, piece.type, {elements});
  if (elements > 0) {
    if (const auto status = stream_.Sum(parts, sum); !status.ok()) return Fail(status);
  }
  return Exchange(same, data, slices, data);
}

// Sends out[to[r]] to each rank r while in[from[r]] comes from it.
absl::Status NcclGroup::Exchange(const std::vector<Span>& to, const std::byte* out,
                                 const std::vector<Span>& from, std::byte* in) {
  NcclResult first = api_.GroupStart();
  const auto note = [&](NcclResult result) {
    if (first == kNcclSuccess && result != kNcclInProgress) first = result;
  };
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    if (to[r].size > 0) {
      note(api_.Send(out + to[r].begin, static_cast<size_t>(to[r].size), kNcclUint8, r, comm_,
                     stream_.handle()));
    }
    if (from[r].size > 0) {
      note(api_.Recv(in + from[r].begin, static_cast<size_t>(from[r].size), kNcclUint8, r, comm_,
                     stream_.handle()));
    }
  }
  const NcclResult end = api_.GroupEnd();
  return Queued(first == kNcclSuccess ? end : first);
}

NcclGroup::Span NcclGroup::Slice(int64_t bytes, int rank) const {
  constexpr int64_t kLine = 256;  // what kernels and NCCL like their data aligned to
  const int64_t each = (bytes + size() * kLine - 1) / (size() * kLine) * kLine;
  const int64_t begin = std::min(bytes, rank * each);
  return {begin, std::min(bytes, begin + each) - begin};
}

absl::Status NcclGroup::AllGather(const View& in, const View& out) {
  SL_RETURN_IF_ERROR(CheckAllGather(in, out, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllGather));
  if (in.bytes() == 0) return absl::OkStatus();
  SL_RETURN_IF_ERROR(
      Queued(api_.AllGather(in.data, out.data, in.bytes(), kNcclUint8, comm_, stream_.handle())));
  return Finish();
}

absl::Status NcclGroup::Broadcast(const View& data, int root) {
  SL_RETURN_IF_ERROR(CheckBroadcast(root, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBroadcast));
  if (data.bytes() == 0) return absl::OkStatus();
  SL_RETURN_IF_ERROR(Queued(api_.Broadcast(data.data, data.data, data.bytes(), kNcclUint8, root,
                                           comm_, stream_.handle())));
  return Finish();
}

absl::Status NcclGroup::Barrier() {
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBarrier));
  SL_RETURN_IF_ERROR(
      Queued(api_.AllGather(scratch_ + rank(), scratch_, 1, kNcclUint8, comm_, stream_.handle())));
  return Finish();
}

// ---- waits ----

absl::Status NcclGroup::Queued(NcclResult result) {
  if (result == kNcclSuccess) return absl::OkStatus();
  if (result != kNcclInProgress) return Fail(Broken(result));
  return Poll([] { return true; });
}

absl::Status NcclGroup::Finish() {
  absl::Status broken;
  SL_RETURN_IF_ERROR(Poll([&] {
    const auto idle = stream_.Idle();
    if (!idle.ok()) broken = idle.status();
    return !idle.ok() || *idle;
  }));
  return broken.ok() ? broken : Fail(broken);
}

// Until the communicator is ready and `done`. The reason why another rank ended the group is worth
// more than what NCCL makes of it, and a call that is done is done.
template <typename Done>
absl::Status NcclGroup::Poll(const Done& done) {
  bool leaving = false;
  for (int turn = 0;; ++turn) {
    NcclResult state = kNcclSuccess;
    const NcclResult asked = api_.CommGetAsyncError(comm_, &state);
    if (asked == kNcclSuccess && state == kNcclSuccess && done()) return absl::OkStatus();
    const absl::Status ended = host_.ended();
    if (absl::IsCancelled(ended) && !leaving) {  // a rank left
      leaving = true;
      deadline_ = std::min(deadline_, DeadlineAfter(kGrace));
    }
    if (!ended.ok() && !absl::IsCancelled(ended)) return Fail(ended);
    if (asked != kNcclSuccess) return Fail(Broken(asked));
    if (state != kNcclSuccess && state != kNcclInProgress) return Fail(Broken(state));
    if (Clock::now() >= deadline_) {
      return Fail(leaving ? ended
                          : DeadlineExceeded(
                                "group: ", call_ == GroupCall::kNone ? "joining" : NameOf(call_),
                                " has not ended within ",
                                std::chrono::duration<double>(options_.limit).count(),
                                " s: a rank is missing or its GPU hangs"));
    }
    if (turn > 100) std::this_thread::sleep_for(std::chrono::microseconds(turn > 2000 ? 200 : 10));
  }
}

absl::Status NcclGroup::Broken(NcclResult result) {
  return Unavailable("group: NCCL: ", api_.GetErrorString(result));
}

absl::Status NcclGroup::Fail(const absl::Status& why) {
  host_.Abort(Message(why));  // of no effect where the group has ended
  if (comm_ != nullptr) (void)api_.CommAbort(comm_);
  comm_ = nullptr;
  // What was queued behind it still runs, and the caller may free its memory.
  const auto enough = DeadlineAfter(kGrace);
  for (auto idle = stream_.Idle(); idle.ok() && !*idle && Clock::now() < enough;) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    idle = stream_.Idle();
  }
  const absl::Status first = host_.ended();
  return first.ok() ? why : first;
}

}  // namespace shardline
