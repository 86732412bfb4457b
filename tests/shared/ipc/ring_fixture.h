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

}  // namespace shardline
