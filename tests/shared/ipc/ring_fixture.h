// A ring in ordinary memory, of exactly its size so that sanitizers see every step outside it.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "shared/ipc/message.h"
#include "shared/ipc/ring.h"

namespace shardline {

struct TestRing {
  explicit TestRing(size_t bytes, uint64_t epoch = 5)
      : control(std::make_unique<RingControl>()),
        memory(std::make_unique<Aligned[]>(bytes / sizeof(Aligned))),
        data(reinterpret_cast<std::byte*>(memory.get()), bytes),
        writer(*control, data, epoch),
        reader(*control, data, epoch) {}

  struct alignas(16) Aligned {
    std::byte bytes[16];
  };
  std::unique_ptr<RingControl> control;
  std::unique_ptr<Aligned[]> memory;
  std::span<std::byte> data;
  RingWriter writer;
  RingReader reader;
};

inline constexpr uint16_t kTokensKind = static_cast<uint16_t>(MessageKind::kTokens);

// A payload that only record `number` of `size` bytes has.
inline void FillPayload(std::vector<std::byte>& out, uint32_t number, size_t size) {
  out.resize(size);
  uint32_t x = number * 2654435761u + static_cast<uint32_t>(size);
  for (std::byte& b : out) {
    x = x * 1664525u + 1013904223u;
    b = static_cast<std::byte>(x >> 24);
  }
}

// Lets `input` be what a hostile peer left in the shared words and in the ring: 8 bytes for head, 8
// for tail, the rest the ring's content, repeated. Reads until the ring is empty or broken, then
// writes. False if the outcome is not one of those that are allowed.
inline bool SurvivesHostileMemory(std::span<const std::byte> input) {
  constexpr size_t kBytes = 4096;
  TestRing ring(kBytes);
  uint64_t words[2] = {kBytes, 0};
  if (input.size() >= sizeof(words)) {
    std::memcpy(words, input.data(), sizeof(words));
    input = input.subspan(sizeof(words));
  }
  // Half of all inputs get a possible position, or few would come past it.
  ring.control->head.store(words[0] % 2 == 0 ? words[0] % (kBytes + 1) / 16 * 16 : words[0]);
  ring.control->tail.store(words[1]);
  for (size_t at = 0; at < kBytes && !input.empty(); at += input.size()) {
    std::memcpy(ring.data.data() + at, input.data(), std::min(input.size(), kBytes - at));
  }
  std::vector<std::byte> payload;
  for (size_t reads = 0;; ++reads) {
    if (reads > kBytes / kRecordAlign) return false;
    const auto kind = ring.reader.TryRead(payload);
    if (!kind.ok() && kind.status().code() != absl::StatusCode::kDataLoss) return false;
    if (!kind.ok() || !kind->has_value()) break;
    if (payload.size() > kBytes - sizeof(RecordHeader) || !IsMessageKind(**kind)) return false;
  }
  payload.resize(100);
  const auto written = ring.writer.TryWrite(kTokensKind, payload);
  return written.ok() || written.status().code() == absl::StatusCode::kDataLoss;
}

// Lets each byte of `script` be one move of a writer, a reader, or a hostile peer of both: what the
// writer wrote arrives as it was, and until the peer moves a position there is no error.
inline bool SurvivesHostileMoves(std::span<const std::byte> script) {
  constexpr size_t kBytes = 256;
  TestRing ring(kBytes);
  uint32_t written = 0, read = 0;
  bool hostile = false;
  std::vector<std::byte> payload, expected;
  std::vector<size_t> sizes;
  const auto fails = [&](const absl::Status& status) {
    return !hostile || status.code() != absl::StatusCode::kDataLoss;
  };
  for (const std::byte move : script) {
    const auto number = static_cast<size_t>(move) / 4;
    if (static_cast<size_t>(move) % 4 < 2) {
      const size_t size = number * 4;
      FillPayload(payload, written, size);
      const bool room = ring.writer.CanWrite(size);
      const auto done = ring.writer.TryWrite(kTokensKind, payload);
      if (size > ring.writer.max_payload()) {
        if (done.status().code() != absl::StatusCode::kResourceExhausted) return false;
      } else if (!done.ok()) {
        if (fails(done.status())) return false;
      } else if (*done != room) {
        return false;
      } else if (*done) {
        sizes.push_back(size);
        ++written;
      }
    } else if (static_cast<size_t>(move) % 4 == 2) {
      const bool any = ring.reader.CanRead();
      const auto kind = ring.reader.TryRead(payload);
      if (!kind.ok() && fails(kind.status())) return false;
      if (!kind.ok()) continue;
      if (kind->has_value() != any) return false;
      if (!any || hostile) continue;
      FillPayload(expected, read, sizes[read]);
      ++read;
      if (payload != expected) return false;
    } else {
      auto& word = number % 2 == 0 ? ring.control->head : ring.control->tail;
      word.store(word.load() + number / 2 * 8 - 64);
      hostile = true;
    }
  }
  return true;
}

}  // namespace shardline
