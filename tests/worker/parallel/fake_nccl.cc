#include "tests/worker/parallel/fake_nccl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/half.h"
#include "kernels/ops.h"
#include "worker/parallel/shm_group.h"

namespace shardline {

// NCCL's opaque communicator.
struct NcclCommunicator {
  std::unique_ptr<ShmGroup> group;
  std::atomic<int> in_progress{0};
  std::atomic<bool> aborted{false};
  std::atomic<bool> ready{false};
  std::atomic<int> queued{0};
  std::thread joining;
};

namespace testing {
namespace {

using std::chrono::milliseconds;

struct PeerCall {  // ncclSend or ncclRecv
  bool send;
  std::byte* data;
  size_t bytes;
  int peer;
};
struct PeerCalls {
  std::vector<PeerCall> calls;
  NcclComm comm = nullptr;
  FakeStream* stream = nullptr;
};
thread_local PeerCalls grouped;

NcclResult Accepted(NcclComm comm) {
  comm->in_progress = FakeNcclKnobs().in_progress.load();
  return comm->in_progress > 0 ? kNcclInProgress : kNcclSuccess;
}

// Queues `work`; if it fails, a rank is missing, and the stream stands still until the abort.
NcclResult Start(NcclComm comm, NcclStream stream, std::function<absl::Status()> work) {
  if (const NcclResult refuse = FakeNcclKnobs().refuse; refuse != kNcclSuccess) return refuse;
  ++comm->queued;
  static_cast<FakeStream*>(stream)->Queue([comm, work = std::move(work)] {
    const bool done = !FakeNcclKnobs().hang && work().ok();
    while (!done && !comm->aborted) std::this_thread::sleep_for(milliseconds(1));
    --comm->queued;
  });
  return Accepted(comm);
}

View Bytes(const void* data, size_t bytes) {
  return View::Contiguous(const_cast<void*>(data), DType::kU8, {static_cast<int64_t>(bytes)});
}

// From the last rank to the first, rounded at every step.
void SumBackwards(const std::vector<std::byte>& all, int ranks, NcclType type, void* out,
                  size_t count) {
  const auto round = [&](float x) {
    return type == kNcclFloat32    ? x
           : type == kNcclBfloat16 ? WidenBf16(RoundToBf16(x))
                                   : WidenF16(RoundToF16(x));
  };
  for (size_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int r = ranks - 1; r >= 0; --r) {
      const size_t at = static_cast<size_t>(r) * count + i;
      float x;
      if (type == kNcclFloat32) {
        x = reinterpret_cast<const float*>(all.data())[at];
      } else {
        const uint16_t bits = reinterpret_cast<const uint16_t*>(all.data())[at];
        x = type == kNcclBfloat16 ? WidenBf16(bits) : WidenF16(bits);
      }
      sum = r == ranks - 1 ? x : round(sum + x);
    }
    if (type == kNcclFloat32) {
      static_cast<float*>(out)[i] = sum;
    } else {
      static_cast<uint16_t*>(out)[i] = type == kNcclBfloat16 ? RoundToBf16(sum) : RoundToF16(sum);
    }
  }
}

// All ranks learn how much each sends to whom, then everything.
absl::Status Deliver(ShmGroup& group, const std::vector<PeerCall>& calls) {
  const int ranks = group.size();
  std::vector<uint64_t> own(ranks), all(static_cast<size_t>(ranks) * ranks);
  for (const PeerCall& call : calls) {
    if (call.send) own[call.peer] = call.bytes;
  }
  SL_RETURN_IF_ERROR(
      group.AllGather(Bytes(own.data(), own.size() * 8), Bytes(all.data(), all.size() * 8)));
  const auto before = [&](int from, int to) {  // bytes that `from` sends to ranks below `to`
    uint64_t sum = 0;
    for (int r = 0; r < to; ++r) sum += all[from * ranks + r];
    return sum;
  };
  uint64_t most = 0;
  for (int r = 0; r < ranks; ++r) most = std::max(most, before(r, ranks));
  std::vector<std::byte> out(most), in(most * ranks);
  for (const PeerCall& call : calls) {
    if (call.send) std::memcpy(out.data() + before(group.rank(), call.peer), call.data, call.bytes);
  }
  SL_RETURN_IF_ERROR(group.AllGather(Bytes(out.data(), most), Bytes(in.data(), in.size())));
  for (const PeerCall& call : calls) {
    if (call.send) continue;
    if (all[call.peer * ranks + group.rank()] != call.bytes) return Internal("sizes differ");
    std::memcpy(call.data, in.data() + call.peer * most + before(call.peer, group.rank()),
                call.bytes);
  }
  return absl::OkStatus();
}

// ---- the table ----

NcclResult GetVersion(int* version) {
  *version = kNcclLeastVersion;
  return kNcclSuccess;
}
const char* GetErrorString(NcclResult result) {
  return result == kNcclRemoteError ? "remote process exited or there was a network error"
                                    : "unhandled system error";
}

// The id says where the segment is to be found.
NcclResult GetUniqueId(NcclUniqueId* id) {
  const auto fd = ShmGroup::CreateSegment(FakeNcclKnobs().ranks, 1);
  if (!fd.ok()) return kNcclSystemError;
  std::snprintf(id->internal, sizeof(id->internal), "/proc/%d/fd/%d", getpid(), *fd);
  return kNcclSuccess;  // the descriptor stays open, for ranks yet to come
}

NcclResult CommInitRankConfig(NcclComm* comm, int ranks, NcclUniqueId id, int rank,
                              NcclConfig* config) {
  if (config->magic != 0xcafebeef || config->size != sizeof(NcclConfig) || config->blocking != 0) {
    return kNcclInvalidArgument;
  }
  const int fd = open(id.internal, O_RDWR | O_CLOEXEC);
  if (fd < 0) return kNcclSystemError;
  auto group = ShmGroup::Attach(
      fd, {.rank = rank, .size = ranks, .epoch = 1, .limit = std::chrono::hours(1)});
  if (!group.ok()) return kNcclInvalidArgument;
  *comm = new NcclCommunicator{.group = *std::move(group)};
  (*comm)->joining = std::thread([comm = *comm] { comm->ready = comm->group->Barrier().ok(); });
  (void)Accepted(*comm);
  return kNcclInProgress;
}

NcclResult CommGetAsyncError(NcclComm comm, NcclResult* error) {
  *error = FakeNcclKnobs().async_error;
  if (*error == kNcclSuccess && (!comm->ready || comm->in_progress > 0)) *error = kNcclInProgress;
  if (comm->in_progress > 0) --comm->in_progress;
  if (comm->ready && comm->joining.joinable()) comm->joining.join();
  return kNcclSuccess;
}

NcclResult Destroy(NcclComm comm) {
  if (comm->joining.joinable()) comm->joining.join();
  while (comm->queued > 0) std::this_thread::sleep_for(milliseconds(1));
  delete comm;
  return kNcclSuccess;
}
NcclResult CommFinalize(NcclComm comm) { return Accepted(comm); }
NcclResult CommAbort(NcclComm comm) {
  comm->aborted = true;
  comm->group->Abort("aborted");
  return Destroy(comm);
}

NcclResult AllReduce(const void* in, void* out, size_t count, NcclType type, NcclOp, NcclComm comm,
                     NcclStream stream) {
  return Start(comm, stream, [=] {
    const size_t bytes = count * (type == kNcclFloat32 ? 4 : 2);
    std::vector<std::byte> all(bytes * comm->group->size());
    SL_RETURN_IF_ERROR(comm->group->AllGather(Bytes(in, bytes), Bytes(all.data(), all.size())));
    SumBackwards(all, comm->group->size(), type, out, count);
    return absl::OkStatus();
  });
}
NcclResult AllGather(const void* in, void* out, size_t count, NcclType, NcclComm comm,
                     NcclStream stream) {
  return Start(comm, stream, [=] {
    return comm->group->AllGather(Bytes(in, count), Bytes(out, count * comm->group->size()));
  });
}
NcclResult Broadcast(const void* in, void* out, size_t count, NcclType, int root, NcclComm comm,
                     NcclStream stream) {
  if (in != out) return kNcclInvalidArgument;  // not needed
  return Start(comm, stream, [=] { return comm->group->Broadcast(Bytes(out, count), root); });
}
NcclResult AddPeerCall(PeerCall call, NcclComm comm, NcclStream stream) {
  grouped.comm = comm, grouped.stream = static_cast<FakeStream*>(stream);
  grouped.calls.push_back(call);
  return kNcclSuccess;
}
NcclResult Send(const void* data, size_t count, NcclType, int peer, NcclComm comm,
                NcclStream stream) {
  return AddPeerCall({true, static_cast<std::byte*>(const_cast<void*>(data)), count, peer}, comm,
                     stream);
}
NcclResult Recv(void* data, size_t count, NcclType, int peer, NcclComm comm, NcclStream stream) {
  return AddPeerCall({false, static_cast<std::byte*>(data), count, peer}, comm, stream);
}
NcclResult GroupStart() {
  grouped = {};
  return kNcclSuccess;
}
// Real NCCL lets only the ranks concerned take part; here all do, for all call it.
NcclResult GroupEnd() {
  if (grouped.comm == nullptr) return kNcclSuccess;
  return Start(grouped.comm, grouped.stream, [calls = grouped.calls, comm = grouped.comm] {
    return Deliver(*comm->group, calls);
  });
}

}  // namespace

FakeNcclState& FakeNcclKnobs() {
  static FakeNcclState state;
  return state;
}

const NcclApi& FakeNccl() {
  static const NcclApi api = {
      .GetVersion = GetVersion,
      .GetErrorString = GetErrorString,
      .GetUniqueId = GetUniqueId,
      .CommInitRankConfig = CommInitRankConfig,
      .CommGetAsyncError = CommGetAsyncError,
      .CommFinalize = CommFinalize,
      .CommDestroy = Destroy,
      .CommAbort = CommAbort,
      .AllReduce = AllReduce,
      .AllGather = AllGather,
      .Broadcast = Broadcast,
      .Send = Send,
      .Recv = Recv,
      .GroupStart = GroupStart,
      .GroupEnd = GroupEnd,
  };
  return api;
}

// ---- the stream ----

FakeStream::~FakeStream() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}
void FakeStream::Queue(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  changed_.notify_all();
}
void FakeStream::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    running_ = true;
    lock.unlock();
    work();
    lock.lock();
    running_ = false;
  }
}
absl::StatusOr<bool> FakeStream::Idle() {
  std::lock_guard lock(mutex_);
  return queue_.empty() && !running_;
}
absl::StatusOr<void*> FakeStream::Allocate(size_t bytes) { return ::operator new(bytes); }
void FakeStream::Free(void* memory) { ::operator delete(memory); }
absl::Status FakeStream::Sum(const std::vector<const void*>& parts, const View& out) {
  Queue([parts, out] { CpuOps().sum({}, parts.data(), static_cast<int>(parts.size()), out); });
  return absl::OkStatus();
}

}  // namespace testing
}  // namespace shardline
