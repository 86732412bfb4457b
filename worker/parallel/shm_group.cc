#include "worker/parallel/shm_group.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "shared/base/clock.h"

namespace shardline {
namespace {

enum EndState : uint32_t { kAlive, kEnding, kEnded };  // of GroupEnd::state

// What a rank does in a round, in one word: call, type, root, bytes.
uint64_t PackCall(GroupCall call, DType type, int root, size_t bytes) {
  return static_cast<uint64_t>(call) << 60 | static_cast<uint64_t>(type) << 56 |
         static_cast<uint64_t>(root) << 48 | (bytes & ((uint64_t{1} << 48) - 1));
}
GroupCall CallOf(uint64_t packed) { return static_cast<GroupCall>(packed >> 60); }
std::string DescribeCall(uint64_t packed) {
  return Cat(NameOf(CallOf(packed)), " of ", packed & ((uint64_t{1} << 48) - 1), " bytes of ",
             NameOf(static_cast<DType>(packed >> 56 & 15)), " from rank ", packed >> 48 & 255);
}

View Elements(const View& data, int64_t begin, int64_t count) {
  auto* at = data.as<std::byte>() + begin * static_cast<int64_t>(SizeOf(data.type));
  return View::Contiguous(at, data.type, {count});
}

void Copy(void* to, const void* from, int64_t bytes) {
  if (to != from && bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
}

}  // namespace

absl::StatusOr<int> ShmGroup::CreateSegment(int ranks, uint64_t epoch, uint64_t buffer_bytes) {
  SL_ASSIGN_OR_RETURN(const GroupSegment segment, GroupSegment::Create(ranks, epoch, buffer_bytes));
  const int fd = fcntl(segment.fd(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return ResourceExhausted("cannot copy the group's descriptor: ", strerror(errno));
  return fd;
}

absl::StatusOr<std::unique_ptr<ShmGroup>> ShmGroup::Attach(int fd, const ShmGroupOptions& options) {
  SL_ASSIGN_OR_RETURN(GroupSegment segment, GroupSegment::Map(fd, options.size, options.epoch));
  if (options.rank < 0 || options.rank >= options.size) {
    return InvalidArgument("group: rank ", options.rank, " of ", options.size, " does not exist");
  }
  if (options.limit <= std::chrono::nanoseconds::zero()) {
    return InvalidArgument("group: limit is ", options.limit.count(), " ns");
  }
  std::unique_ptr<ShmGroup> group(new ShmGroup(std::move(segment), options));
  SL_RETURN_IF_ERROR(group->Open());
  return group;
}

ShmGroup::ShmGroup(GroupSegment segment, const ShmGroupOptions& options)
    : segment_(std::move(segment)),
      options_(options),
      ops_(CpuOps()),
      watch_(segment_.rank(options.rank).life,
             segment_.rank((options.rank + 1) % options.size).life,
             Cat("group: rank ", options.rank)) {}

absl::Status ShmGroup::Open() {
  if (size() == 1) return absl::OkStatus();
  SL_RETURN_IF_ERROR(watch_.Start([this](PeerEnd end) { PeerGone(end); }));
  open_ = true;
  return absl::OkStatus();
}

ShmGroup::~ShmGroup() {
  if (!open_) return;
  std::atomic<uint32_t>& state = segment_.rank(rank()).life.state;
  state.store(static_cast<uint32_t>(SideState::kClosed));
  FutexWakeAll(state);
  watch_.Stop();
}

// ---- the calls ----

absl::Status ShmGroup::StartCall(GroupCall call, DType type, int root, size_t bytes) {
  call_ = PackCall(call, type, root, bytes);
  // A rank that left may have done its part of this call before; the waits tell.
  const absl::Status ended = EndStatus();
  return absl::IsCancelled(ended) ? absl::OkStatus() : ended;
}

absl::Status ShmGroup::AllReduce(const View& data) {
  SL_RETURN_IF_ERROR(CheckAllReduce(data));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllReduce, data.type, 0, data.bytes()));
  if (size() == 1) return absl::OkStatus();
  const int64_t n = data.elements();
  const auto most = static_cast<int64_t>(segment_.buffer_bytes() / SizeOf(data.type));
  for (int64_t begin = 0; begin < n; begin += most) {
    const View piece = Elements(data, begin, std::min(most, n - begin));
    const bool small = static_cast<int64_t>(piece.bytes()) <= kOneShotBytes;
    SL_RETURN_IF_ERROR(small ? OneShot(piece) : TwoShot(piece));
  }
  return absl::OkStatus();
}

absl::Status ShmGroup::OneShot(const View& piece) {
  const auto bytes = static_cast<int64_t>(piece.bytes());
  SL_RETURN_IF_ERROR(StartRound());
  Copy(Buffer(rank()), piece.data, bytes);
  Publish();
  SL_RETURN_IF_ERROR(AwaitAll());
  Sum(piece, {0, bytes}, piece.data);
  return absl::OkStatus();
}

// Rank r adds slice r of all parts, then everyone takes the sums from where they were made.
absl::Status ShmGroup::TwoShot(const View& piece) {
  auto* data = piece.as<std::byte>();
  SL_RETURN_IF_ERROR(StartRound());
  for (int r = 0; r < size(); ++r) {
    const Span slice = Slice(piece, r);
    if (r != rank()) Copy(Buffer(rank()) + slice.begin, data + slice.begin, slice.size);
  }
  Publish();
  SL_RETURN_IF_ERROR(AwaitAll());
  const Span own = Slice(piece, rank());
  Sum(piece, own, data + own.begin);

  SL_RETURN_IF_ERROR(StartRound());
  Copy(Buffer(rank()), data + own.begin, own.size);
  Publish();
  SL_RETURN_IF_ERROR(AwaitAll());
  for (int r = 0; r < size(); ++r) {
    const Span slice = Slice(piece, r);
    if (r != rank()) Copy(data + slice.begin, Buffer(r), slice.size);
  }
  return absl::OkStatus();
}

// Whole cache lines, so that no two ranks write into one.
ShmGroup::Span ShmGroup::Slice(const View& piece, int rank) const {
  const auto bytes = static_cast<int64_t>(piece.bytes());
  constexpr auto kLine = static_cast<int64_t>(kCacheLine);
  const int64_t each = (bytes + size() * kLine - 1) / (size() * kLine) * kLine;
  const int64_t begin = std::min(bytes, rank * each);
  return {begin, std::min(bytes, begin + each) - begin};
}

// Bytes `span` of all ranks' parts; this rank's own it still has in `data`.
void ShmGroup::Sum(const View& data, Span span, void* out) const {
  std::array<const void*, kMaxRanks> parts;
  for (int r = 0; r < size(); ++r) {
    parts[r] = (r == rank() ? data.as<std::byte>() : Buffer(r)) + span.begin;
  }
  const int64_t elements = span.size / static_cast<int64_t>(SizeOf(data.type));
  ops_.sum({}, parts.data(), size(), View::Contiguous(out, data.type, {elements}));
}

absl::Status ShmGroup::AllGather(const View& in, const View& out) {
  SL_RETURN_IF_ERROR(CheckAllGather(in, out, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllGather, in.type, 0, in.bytes()));
  const auto bytes = static_cast<int64_t>(in.bytes());
  Copy(out.as<std::byte>() + rank() * bytes, in.data, bytes);
  const auto most = static_cast<int64_t>(segment_.buffer_bytes());
  for (int64_t begin = 0; begin < bytes && size() > 1; begin += most) {
    const int64_t piece = std::min(most, bytes - begin);
    const auto part = [&](int r) { return out.as<std::byte>() + r * bytes + begin; };
    SL_RETURN_IF_ERROR(StartRound());
    Copy(Buffer(rank()), part(rank()), piece);
    Publish();
    SL_RETURN_IF_ERROR(AwaitAll());
    for (int r = 0; r < size(); ++r) {
      if (r != rank()) Copy(part(r), Buffer(r), piece);
    }
  }
  return absl::OkStatus();
}

absl::Status ShmGroup::Broadcast(const View& data, int root) {
  SL_RETURN_IF_ERROR(CheckBroadcast(root, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBroadcast, data.type, root, data.bytes()));
  const auto bytes = static_cast<int64_t>(data.bytes());
  const auto most = static_cast<int64_t>(segment_.buffer_bytes());
  for (int64_t begin = 0; begin < bytes && size() > 1; begin += most) {
    const int64_t piece = std::min(most, bytes - begin);
    SL_RETURN_IF_ERROR(StartRound());
    if (rank() == root) Copy(Buffer(root), data.as<std::byte>() + begin, piece);
    Publish();
    if (rank() == root) continue;  // waits for no one, but for a free buffer
    SL_RETURN_IF_ERROR(AwaitRound(round_, root, root + 1));
    SL_RETURN_IF_ERROR(CheckCall(root));
    Copy(data.as<std::byte>() + begin, Buffer(root), piece);
  }
  return absl::OkStatus();
}

absl::Status ShmGroup::Barrier() {
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBarrier, DType::kU8, 0, 0));
  if (size() == 1) return absl::OkStatus();
  SL_RETURN_IF_ERROR(StartRound());
  Publish();
  return AwaitAll();
}

// ---- rounds ----

absl::Status ShmGroup::StartRound() {
  ++round_;
  return AwaitRound(round_ - 1, 0, size());
}

void ShmGroup::Publish() {
  RankControl& own = segment_.rank(rank());
  own.call[round_ % 2].store(call_, std::memory_order_relaxed);
  own.round.store(round_, std::memory_order_seq_cst);  // before it looks for sleepers: doorbell.h
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) Ring(segment_.rank(r).bell);
  }
}

absl::Status ShmGroup::AwaitAll() {
  SL_RETURN_IF_ERROR(AwaitRound(round_, 0, size()));
  for (int r = 0; r < size(); ++r) SL_RETURN_IF_ERROR(CheckCall(r));
  return absl::OkStatus();
}

// Until ranks [first, end) have published `round`. A rank that has done so may have left since:
// what it published counts.
absl::Status ShmGroup::AwaitRound(uint64_t round, int first, int end) {
  int missing = first;
  const auto all_here = [&] {
    while (missing < end && (missing == rank() || segment_.rank(missing).round.load(
                                                      std::memory_order_seq_cst) >= round)) {
      ++missing;
    }
    return missing == end;
  };
  if (all_here()) return absl::OkStatus();
  const auto ready = [&] {
    return all_here() || segment_.end().state.load(std::memory_order_seq_cst) == kEnded;
  };
  const bool done =
      Await(segment_.rank(rank()).bell, DeadlineAfter(options_.limit), options_.spin, ready);
  if (all_here()) return absl::OkStatus();
  const absl::Status late = Missing(missing);
  if (!done) End(late);
  const absl::Status ended = EndStatus();
  return ended.ok() ? late : ended;
}

absl::Status ShmGroup::CheckCall(int r) {
  const uint64_t theirs = segment_.rank(r).call[round_ % 2].load(std::memory_order_relaxed);
  if (r == rank() || theirs == call_) return absl::OkStatus();
  const absl::Status status = Internal("group: rank ", r, " calls ", DescribeCall(theirs),
                                       " where rank ", rank(), " calls ", DescribeCall(call_));
  End(status);
  return status;
}

absl::Status ShmGroup::Missing(int r) const {
  const double seconds = std::chrono::duration<double>(options_.limit).count();
  const auto state = segment_.rank(r).life.state.load();
  if (state == static_cast<uint32_t>(SideState::kAbsent)) {
    return DeadlineExceeded("group: rank ", r, " has not joined within ", seconds, " s");
  }
  return DeadlineExceeded("group: rank ", r, " has not come to ", NameOf(CallOf(call_)), " within ",
                          seconds, " s");
}

// ---- the end ----

void ShmGroup::PeerGone(PeerEnd end) {
  const int next = (rank() + 1) % size();
  End(end == PeerEnd::kDied ? Unavailable("group: rank ", next, " died")
                            : absl::CancelledError(Cat("group: rank ", next, " left")));
}

void ShmGroup::Abort(std::string_view reason) {
  End(Unavailable("group: ended by rank ", rank(), ": ", reason));
}

void ShmGroup::End(const absl::Status& why) {
  GroupEnd& end = segment_.end();
  uint32_t none = 0;
  if (!end.state.compare_exchange_strong(none, kEnding)) return;
  const std::string text = Message(why).substr(0, sizeof(end.text) - 1);
  std::memcpy(end.text, text.data(), text.size());
  end.code.store(static_cast<uint32_t>(why.code()), std::memory_order_relaxed);
  end.state.store(kEnded, std::memory_order_seq_cst);
  for (int r = 0; r < size(); ++r) RingAlways(segment_.rank(r).bell);
}

absl::Status ShmGroup::EndStatus() const {
  const GroupEnd& end = segment_.end();
  if (end.state.load(std::memory_order_seq_cst) != kEnded) return absl::OkStatus();
  std::string text(end.text, strnlen(end.text, sizeof(end.text)));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, '?');
  const auto code = static_cast<absl::StatusCode>(end.code.load(std::memory_order_relaxed));
  for (const auto known : {absl::StatusCode::kCancelled, absl::StatusCode::kDeadlineExceeded,
                           absl::StatusCode::kInternal}) {
    if (code == known) return absl::Status(known, text);
  }
  return absl::UnavailableError(text);
}

}  // namespace shardline
