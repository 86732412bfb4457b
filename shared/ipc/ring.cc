#include "shared/ipc/ring.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "shared/ipc/message.h"

namespace shardline {
namespace {

// The peer may write while we read: one atomic load per word, so that what was checked is what is
// used.
RecordHeader LoadHeader(const std::byte* at) {
  auto* words = reinterpret_cast<uint64_t*>(const_cast<std::byte*>(at));  // 16-byte aligned
  const uint64_t copy[2] = {std::atomic_ref<uint64_t>(words[0]).load(std::memory_order_relaxed),
                            std::atomic_ref<uint64_t>(words[1]).load(std::memory_order_relaxed)};
  return std::bit_cast<RecordHeader>(copy);
}

uint64_t MaxPayload(size_t ring_bytes) {
  return std::min<uint64_t>(kMaxMessageBytes, ring_bytes - sizeof(RecordHeader));
}

}  // namespace

RingWriter::RingWriter(RingControl& control, std::span<std::byte> data, uint64_t epoch)
    : control_(control), data_(data), epoch_(static_cast<uint32_t>(epoch)) {}

uint64_t RingWriter::max_payload() const { return MaxPayload(data_.size()); }

bool RingWriter::CanWrite(uint64_t payload) const {
  // The subtraction wraps for a tail beyond head: then there is an error to tell.
  const uint64_t used = head_ - control_.tail.load(std::memory_order_seq_cst);
  return used > data_.size() || data_.size() - used >= RecordBytes(payload);
}

absl::StatusOr<bool> RingWriter::TryWrite(uint16_t kind, std::span<const std::byte> payload) {
  if (payload.size() > max_payload()) {
    return ResourceExhausted("channel: a message of ", payload.size(), " bytes; the limit is ",
                             max_payload());
  }
  const uint64_t tail = control_.tail.load(std::memory_order_acquire);
  if (head_ - tail > head_ - tail_ || tail % kRecordAlign != 0) {
    return absl::DataLossError("channel: the reader's position is impossible");
  }
  tail_ = tail;
  const uint64_t bytes = RecordBytes(payload.size());
  if (data_.size() - (head_ - tail_) < bytes) return false;

  const uint64_t mask = data_.size() - 1;
  const RecordHeader header{static_cast<uint32_t>(payload.size()), kind, 0, epoch_, sequence_};
  std::memcpy(data_.data() + (head_ & mask), &header, sizeof(header));
  if (!payload.empty()) {
    const uint64_t at = (head_ + sizeof(header)) & mask;
    const uint64_t first = std::min<uint64_t>(payload.size(), data_.size() - at);
    std::memcpy(data_.data() + at, payload.data(), first);
    if (first < payload.size()) {
      std::memcpy(data_.data(), payload.data() + first, payload.size() - first);
    }
  }
  ++sequence_;
  head_ += bytes;
  control_.head.store(head_, std::memory_order_seq_cst);
  return true;
}

RingReader::RingReader(RingControl& control, std::span<const std::byte> data, uint64_t epoch)
    : control_(control), data_(data), epoch_(static_cast<uint32_t>(epoch)) {}

bool RingReader::CanRead() const {
  return !broken_.ok() || control_.head.load(std::memory_order_seq_cst) != tail_;
}

absl::Status RingReader::Corrupted(std::string_view what) {
  return broken_ = absl::DataLossError(Cat("channel: record ", sequence_, ": ", what));
}

absl::StatusOr<std::optional<uint16_t>> RingReader::TryRead(std::vector<std::byte>& payload) {
  if (!broken_.ok()) return broken_;
  const uint64_t used = control_.head.load(std::memory_order_acquire) - tail_;
  if (used == 0) return std::nullopt;
  if (used > data_.size() || used % kRecordAlign != 0) {
    return Corrupted("the writer's position is impossible");
  }
  const uint64_t mask = data_.size() - 1;
  const RecordHeader header = LoadHeader(data_.data() + (tail_ & mask));
  if (header.epoch != epoch_) return Corrupted(Cat("epoch ", header.epoch, ", not ", epoch_));
  if (header.sequence != sequence_) return Corrupted(Cat("has number ", header.sequence));
  if (header.flags != 0) return Corrupted(Cat("unknown flags ", header.flags));
  if (!IsMessageKind(header.kind)) return Corrupted(Cat("unknown kind ", header.kind));
  if (header.size > MaxPayload(data_.size()) || RecordBytes(header.size) > used) {
    return Corrupted(Cat("a size of ", header.size, " bytes does not fit"));
  }
  payload.resize(header.size);
  if (header.size > 0) {
    const uint64_t at = (tail_ + sizeof(header)) & mask;
    const uint64_t first = std::min<uint64_t>(header.size, data_.size() - at);
    std::memcpy(payload.data(), data_.data() + at, first);
    if (first < header.size) {
      std::memcpy(payload.data() + first, data_.data(), header.size - first);
    }
  }
  ++sequence_;
  tail_ += RecordBytes(header.size);
  control_.tail.store(tail_, std::memory_order_seq_cst);
  return header.kind;
}

}  // namespace shardline
