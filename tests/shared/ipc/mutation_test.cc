// A small fuzzer with a fixed seed, over the same drivers as tests/fuzz: random bytes, and valid
// rings and messages with a few bytes changed, cut or repeated.
#include <gtest/gtest.h>

#include <random>

#include "tests/shared/ipc/message_samples.h"
#include "tests/shared/ipc/ring_fixture.h"

namespace shardline {
namespace {

using Bytes = std::vector<std::byte>;

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  size_t Below(size_t limit) { return random_() % limit; }
  Bytes Random(size_t size) {
    Bytes out(size);
    for (std::byte& b : out) b = static_cast<std::byte>(random_());
    return out;
  }
  Bytes Mutate(Bytes bytes) {
    for (size_t changes = 1 + Below(4); changes > 0 && !bytes.empty(); --changes) {
      const size_t at = Below(bytes.size());
      switch (Below(5)) {
        case 0:
          bytes[at] = static_cast<std::byte>(random_());
          break;
        case 1:
          bytes[at] ^= static_cast<std::byte>(1u << Below(8));
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.insert(bytes.begin() + at, 1 + Below(8), bytes[at]);
          break;
        default:
          Interesting(bytes, at);
      }
    }
    return bytes;
  }

 private:
  void Interesting(Bytes& bytes, size_t at) {
    static constexpr uint32_t kValues[] = {0,    1,          16,         4095,
                                           4096, 0x7fffffff, 0x80000000, 0xffffffff};
    const uint32_t value = kValues[Below(std::size(kValues))];
    at = at / 4 * 4;
    if (at + 4 <= bytes.size()) std::memcpy(bytes.data() + at, &value, 4);
  }
  std::mt19937 random_;
};

TEST(Mutation, HostileRings) {
  Mutator mutator(41);
  // A valid ring as SurvivesHostileMemory reads it: head, tail, records of every size.
  TestRing ring(4096);
  Bytes payload;
  for (uint32_t i = 0; i < 20; ++i) {
    FillPayload(payload, i, i * 7);
    ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
  }
  const uint64_t words[2] = {ring.control->head.load(), 0};
  Bytes valid(sizeof(words));
  std::memcpy(valid.data(), words, sizeof(words));
  valid.insert(valid.end(), ring.data.begin(), ring.data.end());
  ASSERT_TRUE(SurvivesHostileMemory(valid));

  for (int round = 0; round < 20000; ++round) {
    const Bytes input = round % 8 == 0 ? mutator.Random(mutator.Below(300)) : mutator.Mutate(valid);
    ASSERT_TRUE(SurvivesHostileMemory(input)) << round;
  }
}

TEST(Mutation, HostileMoves) {
  Mutator mutator(43);
  for (int round = 0; round < 20000; ++round) {
    // Half of all scripts have few moves of the peer's, or none.
    Bytes script = mutator.Random(mutator.Below(100));
    for (std::byte& move : script) {
      if (round % 2 == 0 && mutator.Below(16) != 0) move = static_cast<std::byte>(mutator.Below(3));
    }
    ASSERT_TRUE(SurvivesHostileMoves(script)) << round;
  }
}

TEST(Mutation, HostileMessages) {
  Mutator mutator(42);
  std::vector<Bytes> valid;
  ForEachMessage([&]<typename T>() { Encode(Sample<T>(), valid.emplace_back()); });
  for (const Bytes& bytes : valid) ASSERT_TRUE(DecodesFaithfully(bytes));
  for (int round = 0; round < 40000; ++round) {
    const Bytes input = round % 8 == 0 ? mutator.Random(mutator.Below(200))
                                       : mutator.Mutate(valid[mutator.Below(valid.size())]);
    ASSERT_TRUE(DecodesFaithfully(input)) << round;
  }
}

}  // namespace
}  // namespace shardline
