// A single-producer single-consumer ring of records in shared memory. A record is a 16-byte header
// and its payload, padded to 16 bytes; it may run over the ring's end and go on at its start. The
// writer publishes a record by moving `head` past it; the reader copies it out, so that nothing is
// looked at twice, and moves `tail`.
//
// Neither end trusts the other: each keeps its own position in private memory and checks what it
// reads from the shared words. Nonsense there ends the ring with DataLoss; it never reads or writes
// outside the ring, and never loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shared/base/status.h"
#include "shared/ipc/segment.h"

namespace shardline {

// In the ring; native byte order (both processes are of one machine and one build).
struct RecordHeader {
  uint32_t size;      // payload bytes
  uint16_t kind;      // MessageKind
  uint16_t flags;     // 0
  uint32_t epoch;     // low half of the segment's
  uint32_t sequence;  // records written before this one, modulo 2^32
};
static_assert(sizeof(RecordHeader) == 16);
inline constexpr uint64_t kRecordAlign = 16;

// Bytes that a record takes in the ring.
constexpr uint64_t RecordBytes(uint64_t payload) {
  return (sizeof(RecordHeader) + payload + kRecordAlign - 1) / kRecordAlign * kRecordAlign;
}

class RingWriter {
 public:
  // `data` has a power of two of bytes; it and `control` outlive the writer.
  RingWriter(RingControl& control, std::span<std::byte> data, uint64_t epoch);

  // Whether TryWrite would do something: there is room, or an error to tell.
  bool CanWrite(uint64_t payload) const;
  // False if there is no room now. Errors: ResourceExhausted (never fits), DataLoss.
  absl::StatusOr<bool> TryWrite(uint16_t kind, std::span<const std::byte> payload);
  uint64_t max_payload() const;

 private:
  RingControl& control_;
  const std::span<std::byte> data_;
  const uint32_t epoch_;
  uint32_t sequence_ = 0;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;  // as last seen and checked
};

class RingReader {
 public:
  RingReader(RingControl& control, std::span<const std::byte> data, uint64_t epoch);

  // Whether TryRead would do something.
  bool CanRead() const;
  // The next record's kind, its payload copied to `payload`; nullopt if there is none.
  // Errors: DataLoss; the ring stays unreadable.
  absl::StatusOr<std::optional<uint16_t>> TryRead(std::vector<std::byte>& payload);

 private:
  absl::Status Corrupted(std::string_view what);

  RingControl& control_;
  const std::span<const std::byte> data_;
  const uint32_t epoch_;
  uint32_t sequence_ = 0;
  uint64_t tail_ = 0;
  absl::Status broken_;
};

}  // namespace shardline
