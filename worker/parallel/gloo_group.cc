#include "worker/parallel/gloo_group.h"

#include <string.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace shardline {
namespace {

using std::chrono::milliseconds;

constexpr int kFrames = 1, kNotes = 2;  // lanes
// How long a reason may take to arrive behind the end of the connection it explains.
constexpr milliseconds kGrace{200};
constexpr milliseconds kFarewell{1000};  // to have notes delivered before leaving

uint64_t Pack(GroupCall call, DType type, int root) {
  return static_cast<uint64_t>(call) << 16 | static_cast<uint64_t>(type) << 8 |
         static_cast<uint64_t>(root);
}

std::string Describe(uint64_t what, uint64_t bytes, uint64_t number) {
  return Cat(NameOf(static_cast<GroupCall>(what >> 16 & 255)), " of ", bytes, " bytes of ",
             NameOf(static_cast<DType>(what >> 8 & 255)), " from rank ", what & 255, " (call ",
             number, ")");
}

View Elements(const View& data, int64_t begin, int64_t count) {
  auto* at = data.as<std::byte>() + begin * static_cast<int64_t>(SizeOf(data.type));
  return View::Contiguous(at, data.type, {count});
}

void Copy(void* to, const void* from, int64_t bytes) {
  if (to != from && bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GlooGroup>> GlooGroup::Connect(const GlooGroupOptions& options) {
  constexpr int kMostRanks = 64;
  if (options.size < 1 || options.size > kMostRanks) {
    return InvalidArgument("group: ", options.size, " ranks, not from 1 to ", kMostRanks);
  }
  if (options.rank < 0 || options.rank >= options.size) {
    return InvalidArgument("group: rank ", options.rank, " of ", options.size, " does not exist");
  }
  if (options.epoch == 0) return InvalidArgument("group: epoch is 0");
  if (options.limit <= milliseconds::zero()) {
    return InvalidArgument("group: limit is ", options.limit.count(), " ms");
  }
  if (options.port < 1 || options.port > 65535) {
    return InvalidArgument("--rendezvous: port ", options.port, " is not from 1 to 65535");
  }
  std::unique_ptr<GlooLinks> links;
  if (options.size > 1) {
    SL_ASSIGN_OR_RETURN(links, GlooLinks::Connect(options));
  }
  std::unique_ptr<GlooGroup> group(new GlooGroup(options, std::move(links)));
  group->Open();
  return group;
}

GlooGroup::GlooGroup(const GlooGroupOptions& options, std::unique_ptr<GlooLinks> links)
    : options_(options),
      ops_(CpuOps()),
      peers_(options.size),
      limit_(options.limit),
      links_(std::move(links)) {}

void GlooGroup::Open() {
  if (size() == 1) return;
  constexpr size_t kFrameBytes = sizeof(Header) + kPieceBytes;
  // One frame for all, or one with a slice for each, of whole cache lines.
  for (auto& frames : out_) frames.resize(kFrameBytes + size() * 2 * sizeof(Header));
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    for (auto& frame : peers_[r].frames) frame.resize(kFrameBytes);
    for (int i = 0; i < 2; ++i) GiveBack(r);
    peers_[r].taken = 0;
  }
  timer_ = std::thread([this] { RunTimer(); });
  listener_ = std::thread([this] { RunListener(); });
}

GlooGroup::~GlooGroup() {
  if (size() == 1) return;
  const auto deadline = DeadlineAfter(kFarewell);
  if (EndStatus().ok()) {  // the last calls' data goes out, then word that this was on purpose
    for (Peer& peer : peers_) {
      for (auto& message : peer.going) {
        if (message != nullptr) (void)Await(*message, deadline);
      }
    }
    Tell({.ended = 0, .rank = static_cast<uint32_t>(rank())});
  }
  std::unique_lock lock(mutex_);
  ended_ = absl::OkStatus();  // nothing is to cancel these waits but their deadline
  for (auto note = notes_.begin(); note != notes_.end(); ++note) {
    lock.unlock();
    if (note->message != nullptr) (void)Await(*note->message, deadline);
    lock.lock();
  }
  stopping_ = true;
  changed_.notify_all();
  if (listening_ != nullptr) listening_->Cancel();
  lock.unlock();
  timer_.join();
  listener_.join();
  notes_.clear();
  peers_.clear();  // before the connections, which they belong to
}

// ---- the calls ----

absl::Status GlooGroup::StartCall(GroupCall call, DType type, int root, size_t bytes) {
  header_ = {.number = header_.number + 1, .what = Pack(call, type, root), .bytes = bytes};
  return EndStatus();
}

absl::Status GlooGroup::AllReduce(const View& data) {
  SL_RETURN_IF_ERROR(CheckAllReduce(data));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllReduce, data.type, 0, data.bytes()));
  if (size() == 1) return absl::OkStatus();
  const int64_t n = data.elements();
  const auto width = static_cast<int64_t>(SizeOf(data.type));
  const int64_t most = kPieceBytes / width;
  for (int64_t begin = 0; begin < std::max<int64_t>(n, 1); begin += most) {
    const View piece = Elements(data, begin, std::min(most, n - begin));
    // With two ranks both ways send the same bytes.
    const bool small = size() == 2 || static_cast<int64_t>(piece.bytes()) <= kOneShotBytes;
    SL_RETURN_IF_ERROR(small ? OneShot(piece, begin * width) : TwoShot(piece, begin * width));
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::OneShot(const View& piece, int64_t begin) {
  const auto bytes = static_cast<int64_t>(piece.bytes());
  SL_RETURN_IF_ERROR(StartRound());
  SL_RETURN_IF_ERROR(SendAll(begin, piece.data, bytes));
  std::vector<const std::byte*> parts(size());
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    SL_ASSIGN_OR_RETURN(parts[r], Take(r, begin));
  }
  Sum(piece.data, parts, piece.type, {0, bytes}, piece.data);
  for (int r = 0; r < size(); ++r) GiveBack(r);
  return absl::OkStatus();
}

// Rank r gets and adds slice r of all parts, then everyone gets the sums from where they were made.
absl::Status GlooGroup::TwoShot(const View& piece, int64_t begin) {
  auto* data = piece.as<std::byte>();
  const auto bytes = static_cast<int64_t>(piece.bytes());
  const Span own = Slice(bytes, rank());
  SL_RETURN_IF_ERROR(StartRound());
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    const Span slice = Slice(bytes, r);
    const auto each = static_cast<int64_t>(sizeof(Header)) + Slice(bytes, 0).size;
    SL_RETURN_IF_ERROR(Send(r, out_[round_ % 2].data() + r * each, begin + slice.begin,
                            data + slice.begin, slice.size));
  }
  std::vector<const std::byte*> parts(size());
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    SL_ASSIGN_OR_RETURN(parts[r], Take(r, begin + own.begin));
  }
  Sum(data + own.begin, parts, piece.type, own, data + own.begin);
  for (int r = 0; r < size(); ++r) GiveBack(r);

  SL_RETURN_IF_ERROR(StartRound());
  SL_RETURN_IF_ERROR(SendAll(begin + own.begin, data + own.begin, own.size));
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    const Span slice = Slice(bytes, r);
    SL_ASSIGN_OR_RETURN(const std::byte* sum, Take(r, begin + slice.begin));
    Copy(data + slice.begin, sum, slice.size);
    GiveBack(r);
  }
  return absl::OkStatus();
}

GlooGroup::Span GlooGroup::Slice(int64_t bytes, int rank) const {
  constexpr auto kLine = static_cast<int64_t>(sizeof(Header));
  const int64_t each = (bytes + size() * kLine - 1) / (size() * kLine) * kLine;
  const int64_t begin = std::min(bytes, rank * each);
  return {begin, std::min(bytes, begin + each) - begin};
}

void GlooGroup::Sum(const void* own, const std::vector<const std::byte*>& parts, DType type,
                    Span span, void* out) const {
  std::vector<const void*> all(parts.begin(), parts.end());
  all[rank()] = own;
  const int64_t elements = span.size / static_cast<int64_t>(SizeOf(type));
  ops_.sum({}, all.data(), size(), View::Contiguous(out, type, {elements}));
}

absl::Status GlooGroup::AllGather(const View& in, const View& out) {
  SL_RETURN_IF_ERROR(CheckAllGather(in, out, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kAllGather, in.type, 0, in.bytes()));
  const auto bytes = static_cast<int64_t>(in.bytes());
  const auto part = [&](int r) { return out.as<std::byte>() + r * bytes; };
  Copy(part(rank()), in.data, bytes);
  if (size() == 1) return absl::OkStatus();
  for (int64_t begin = 0; begin < std::max<int64_t>(bytes, 1); begin += kPieceBytes) {
    const int64_t piece = std::min(kPieceBytes, bytes - begin);
    SL_RETURN_IF_ERROR(StartRound());
    SL_RETURN_IF_ERROR(SendAll(begin, part(rank()) + begin, piece));
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      SL_ASSIGN_OR_RETURN(const std::byte* got, Take(r, begin));
      Copy(part(r) + begin, got, piece);
      GiveBack(r);
    }
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::Broadcast(const View& data, int root) {
  SL_RETURN_IF_ERROR(CheckBroadcast(root, size()));
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBroadcast, data.type, root, data.bytes()));
  if (size() == 1) return absl::OkStatus();
  const auto bytes = static_cast<int64_t>(data.bytes());
  for (int64_t begin = 0; begin < std::max<int64_t>(bytes, 1); begin += kPieceBytes) {
    const int64_t piece = std::min(kPieceBytes, bytes - begin);
    SL_RETURN_IF_ERROR(StartRound());
    if (rank() == root) {  // waits for no one, but for a free frame
      SL_RETURN_IF_ERROR(SendAll(begin, data.as<std::byte>() + begin, piece));
      continue;
    }
    SL_ASSIGN_OR_RETURN(const std::byte* got, Take(root, begin));
    Copy(data.as<std::byte>() + begin, got, piece);
    GiveBack(root);
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::Barrier() {
  SL_RETURN_IF_ERROR(StartCall(GroupCall::kBarrier, DType::kU8, 0, 0));
  if (size() == 1) return absl::OkStatus();
  SL_RETURN_IF_ERROR(StartRound());
  SL_RETURN_IF_ERROR(SendAll(0, nullptr, 0));
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    SL_RETURN_IF_ERROR(Take(r, 0).status());
    GiveBack(r);
  }
  return absl::OkStatus();
}

// ---- frames ----

absl::Status GlooGroup::StartRound() {
  ++round_;
  for (int r = 0; r < size(); ++r) {
    auto& message = peers_[r].going[round_ % 2];
    if (message == nullptr) continue;
    SL_RETURN_IF_ERROR(AwaitPeer(*message, r));
    message.reset();
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::SendAll(int64_t begin, const void* data, int64_t bytes) {
  std::byte* frame = out_[round_ % 2].data();
  Copy(frame + sizeof(Header), data, bytes);
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    SL_RETURN_IF_ERROR(Send(r, frame, begin, frame + sizeof(Header), bytes));
  }
  return absl::OkStatus();
}

absl::Status GlooGroup::Send(int peer, std::byte* frame, int64_t begin, const void* data,
                             int64_t bytes) {
  header_.begin = static_cast<uint64_t>(begin);
  std::memcpy(frame, &header_, sizeof(Header));
  Copy(frame + sizeof(Header), data, bytes);
  auto sent = links_->Send(peer, kFrames, frame, sizeof(Header) + static_cast<size_t>(bytes));
  if (!sent.ok()) return Lost(peer);
  peers_[peer].going[round_ % 2] = *std::move(sent);
  return absl::OkStatus();
}

absl::StatusOr<const std::byte*> GlooGroup::Take(int r, int64_t begin) {
  Peer& peer = peers_[r];
  auto& message = peer.coming[peer.taken % 2];
  if (message == nullptr) return Lost(r);
  SL_RETURN_IF_ERROR(AwaitPeer(*message, r));
  const std::byte* frame = peer.frames[peer.taken % 2].data();
  Header theirs;
  std::memcpy(&theirs, frame, sizeof(theirs));
  SL_RETURN_IF_ERROR(CheckFrame(r, theirs, begin));
  return frame + sizeof(Header);
}

// Makes room for the next frame but one. An error here is one of a call to come.
void GlooGroup::GiveBack(int r) {
  if (r == rank()) return;
  Peer& peer = peers_[r];
  const uint64_t at = peer.taken++ % 2;
  peer.coming[at].reset();
  auto coming = links_->Receive(r, kFrames, peer.frames[at].data(), peer.frames[at].size());
  if (coming.ok()) peer.coming[at] = *std::move(coming);
}

absl::Status GlooGroup::CheckFrame(int r, const Header& theirs, int64_t begin) {
  if (theirs.number == header_.number && theirs.what == header_.what &&
      theirs.bytes == header_.bytes && theirs.begin == static_cast<uint64_t>(begin)) {
    return absl::OkStatus();
  }
  End(Internal("group: rank ", r, " calls ", Describe(theirs.what, theirs.bytes, theirs.number),
               " where rank ", rank(), " calls ",
               Describe(header_.what, header_.bytes, header_.number)));
  return EndStatus();
}

// ---- waits ----

absl::Status GlooGroup::Await(GlooMessage& message, Clock::time_point deadline) {
  {
    std::lock_guard lock(mutex_);
    if (!ended_.ok()) return absl::CancelledError("ended");
    waiting_ = &message, deadline_ = deadline, late_ = false;
  }
  const absl::Status status = message.Wait();
  std::lock_guard lock(mutex_);
  waiting_ = nullptr, deadline_ = Clock::time_point::max();
  return absl::IsCancelled(status) && late_ ? absl::DeadlineExceededError("late") : status;
}

absl::Status GlooGroup::AwaitPeer(GlooMessage& message, int r) {
  const absl::Status status = Await(message, DeadlineAfter(limit_));
  if (status.ok()) return status;
  if (absl::IsUnavailable(status)) return Lost(r);
  if (absl::IsDeadlineExceeded(status)) {
    End(DeadlineExceeded("group: rank ", r, " has not come to ", Awaited(), " within ",
                         std::chrono::duration<double>(limit_).count(), " s"));
  }
  return EndStatus();
}

std::string GlooGroup::Awaited() const {
  return std::string(NameOf(static_cast<GroupCall>(header_.what >> 16)));
}

// The connection to a rank has ended.
absl::Status GlooGroup::Lost(int r) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kGrace, [&] { return !ended_.ok() || peers_[r].left; });
  const bool left = peers_[r].left;
  lock.unlock();
  End(left ? absl::CancelledError(Cat("group: rank ", r, " left"))
           : Unavailable("group: rank ", r, " died, or its host cannot be reached any more"));
  return EndStatus();
}

// Cancels the caller's wait when it is late.
void GlooGroup::RunTimer() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto tick =
        std::clamp<std::chrono::nanoseconds>(limit_ / 16, milliseconds(1), milliseconds(50));
    changed_.wait_for(lock, tick, [&] { return stopping_; });
    if (waiting_ == nullptr || Clock::now() < deadline_) continue;
    late_ = true;
    waiting_->Cancel();
  }
}

// ---- notes ----

void GlooGroup::RunListener() {
  Note note{};
  for (;;) {
    auto message = links_->Receive(GlooLinks::kAnyRank, kNotes, &note, sizeof(note));
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (message.ok()) listening_ = message->get();
    }
    const absl::Status heard = message.ok() ? (*message)->Wait() : message.status();
    {
      std::lock_guard lock(mutex_);
      listening_ = nullptr;
      if (stopping_) return;
    }
    if (heard.ok()) {
      Hear(note);
    } else {  // a rank that had begun to tell something is gone
      return End(Unavailable("group: a rank died, or its host cannot be reached any more"));
    }
  }
}

void GlooGroup::Hear(const Note& note) {
  if (note.ended == 0) {
    std::lock_guard lock(mutex_);
    if (note.rank < peers_.size()) peers_[note.rank].left = true;
    changed_.notify_all();
    return;
  }
  std::string text(note.text, strnlen(note.text, sizeof(note.text)));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, '?');
  End(absl::Status(static_cast<absl::StatusCode>(note.code), text));
}

void GlooGroup::Tell(const Note& note) {
  std::lock_guard lock(mutex_);
  for (int r = 0; r < size(); ++r) {
    if (r == rank() || peers_[r].left) continue;
    Sent& sent = notes_.emplace_back(Sent{.note = note});
    auto message = links_->Send(r, kNotes, &sent.note, sizeof(note));
    if (message.ok()) sent.message = *std::move(message);
  }
}

// ---- the end ----

void GlooGroup::SetLimit(std::chrono::nanoseconds limit) {
  std::lock_guard lock(mutex_);
  limit_ = limit;
}

void GlooGroup::Abort(std::string_view reason) {
  End(Unavailable("group: ended by rank ", rank(), ": ", reason));
}

void GlooGroup::End(const absl::Status& why) {
  Note note{.ended = 1, .code = static_cast<uint32_t>(why.code())};
  const std::string text = Message(why).substr(0, sizeof(note.text) - 1);
  std::memcpy(note.text, text.data(), text.size());
  {
    std::lock_guard lock(mutex_);
    if (!ended_.ok() || stopping_) return;
    ended_ = absl::Status(why.code(), text);
    if (waiting_ != nullptr) waiting_->Cancel();
    changed_.notify_all();
  }
  Tell(note);
}

absl::Status GlooGroup::EndStatus() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace shardline
