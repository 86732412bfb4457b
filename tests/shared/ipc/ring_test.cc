#include "shared/ipc/ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "shared/ipc/message.h"
#include "tests/shared/ipc/ring_fixture.h"

namespace shardline {
namespace {

using ::testing::HasSubstr;

TEST(Ring, DeliversRecordsInOrderAcrossManyLaps) {
  TestRing ring(4096);
  std::mt19937 random(1);
  std::vector<std::byte> sent, got;
  uint32_t written = 0, read = 0;
  std::vector<size_t> sizes;
  while (read < 20000) {
    if (random() % 2 == 0) {
      const size_t size = random() % 8 == 0 ? random() % 3000 : random() % 100;
      FillPayload(sent, written, size);
      const auto ok = ring.writer.TryWrite(kTokensKind, sent);
      ASSERT_TRUE(ok.ok()) << ok.status();
      EXPECT_TRUE(*ok || !ring.writer.CanWrite(size));
      if (*ok) {
        sizes.push_back(size);
        ++written;
      }
    } else {
      const auto kind = ring.reader.TryRead(got);
      ASSERT_TRUE(kind.ok()) << kind.status();
      ASSERT_EQ(kind->has_value(), read < written);
      if (!kind->has_value()) continue;
      EXPECT_EQ(**kind, kTokensKind);
      FillPayload(sent, read, sizes[read]);
      ASSERT_EQ(got, sent) << "record " << read;
      ++read;
    }
  }
}

TEST(Ring, HoldsExactlyItsCapacity) {
  TestRing ring(4096);
  std::vector<std::byte> payload(4096 - sizeof(RecordHeader)), got;
  EXPECT_EQ(ring.writer.max_payload(), payload.size());
  EXPECT_TRUE(ring.writer.CanWrite(payload.size()));
  EXPECT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
  EXPECT_FALSE(ring.writer.CanWrite(0));
  EXPECT_FALSE(*ring.writer.TryWrite(kTokensKind, {}));
  EXPECT_TRUE(ring.reader.CanRead());
  EXPECT_EQ(*ring.reader.TryRead(got), kTokensKind);
  EXPECT_EQ(got.size(), payload.size());
  EXPECT_FALSE(ring.reader.CanRead());
  for (int i = 0; i < 4096 / 16; ++i) EXPECT_TRUE(*ring.writer.TryWrite(kTokensKind, {}));
  EXPECT_FALSE(*ring.writer.TryWrite(kTokensKind, {}));
  payload.push_back({});
  const auto too_large = ring.writer.TryWrite(kTokensKind, payload);
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Ring, TwoThreadsSeeEachOthersRecordsWhole) {
  TestRing ring(8192);
  constexpr uint32_t kRecords = 50000;
  std::thread producer([&] {
    std::mt19937 random(2);
    std::vector<std::byte> payload;
    for (uint32_t i = 0; i < kRecords; ++i) {
      FillPayload(payload, i, random() % 400);
      while (!*ring.writer.TryWrite(kTokensKind, payload)) std::this_thread::yield();
    }
  });
  std::mt19937 random(2);
  std::vector<std::byte> want, got;
  for (uint32_t i = 0; i < kRecords; ++i) {
    FillPayload(want, i, random() % 400);
    for (;;) {
      const auto kind = ring.reader.TryRead(got);
      if (!kind.ok()) {
        ADD_FAILURE() << kind.status();
        break;
      }
      if (kind->has_value()) break;
      std::this_thread::yield();
    }
    if (got != want) {
      ADD_FAILURE() << "record " << i;
      break;
    }
  }
  if (HasFailure()) {  // lets the producer end
    for (std::vector<std::byte> rest; ring.reader.TryRead(rest).ok();) {
      if (ring.control->head.load() == ring.control->tail.load()) break;
    }
    ring.control->tail.store(3);
  }
  producer.join();
}

// Each row spoils one thing and names what the reader says.
struct Spoiled {
  const char* what;
  void (*spoil)(TestRing&);
  const char* message;
};
RecordHeader& HeaderAt(TestRing& ring, size_t at) {
  return *reinterpret_cast<RecordHeader*>(ring.data.data() + at);
}
const Spoiled kSpoiled[] = {
    {"head beyond the ring", [](TestRing& r) { r.control->head.store(1 << 20); }, "position"},
    {"head before the tail", [](TestRing& r) { r.control->head.store(~uint64_t{0} - 15); },
     "position"},
    {"head not aligned", [](TestRing& r) { r.control->head.store(24); }, "position"},
    {"another epoch", [](TestRing& r) { HeaderAt(r, 0).epoch = 4; }, "epoch 4, not 5"},
    {"a record twice", [](TestRing& r) { HeaderAt(r, 0).sequence = 9; }, "number 9"},
    {"flags", [](TestRing& r) { HeaderAt(r, 0).flags = 1; }, "flags 1"},
    {"kind 0", [](TestRing& r) { HeaderAt(r, 0).kind = 0; }, "unknown kind 0"},
    {"kind 999", [](TestRing& r) { HeaderAt(r, 0).kind = 999; }, "unknown kind 999"},
    {"size beyond head", [](TestRing& r) { HeaderAt(r, 0).size = 200; }, "does not fit"},
    {"huge size", [](TestRing& r) { HeaderAt(r, 0).size = 0xffffffff; }, "does not fit"},
};

TEST(Ring, SpoiledWordsAreDataLossForGood) {
  for (const Spoiled& row : kSpoiled) {
    SCOPED_TRACE(row.what);
    TestRing ring(4096);
    std::vector<std::byte> payload(100), got;
    ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
    row.spoil(ring);
    EXPECT_TRUE(ring.reader.CanRead());
    for (int again = 0; again < 2; ++again) {
      const auto kind = ring.reader.TryRead(got);
      ASSERT_EQ(kind.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(Message(kind.status()), HasSubstr(row.message));
    }
    EXPECT_TRUE(ring.reader.CanRead());  // a waiter is not left asleep
  }
}

TEST(Ring, SpoiledTailIsDataLossForTheWriter) {
  for (uint64_t tail : {uint64_t{128}, uint64_t{8}, ~uint64_t{15}, uint64_t{1} << 40}) {
    TestRing ring(4096);
    std::vector<std::byte> payload(100);
    ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));  // head is 128 - 16 + …: below
    ring.control->tail.store(tail == 128 ? ring.control->head.load() + 16 : tail);
    const auto written = ring.writer.TryWrite(kTokensKind, payload);
    EXPECT_EQ(written.status().code(), absl::StatusCode::kDataLoss) << tail;
  }
  // Backwards, too.
  TestRing ring(4096);
  std::vector<std::byte> payload(100), got;
  ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
  ASSERT_TRUE(ring.reader.TryRead(got)->has_value());
  ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
  ring.control->tail.store(0);
  EXPECT_EQ(ring.writer.TryWrite(kTokensKind, payload).status().code(),
            absl::StatusCode::kDataLoss);
}

// Every value of every byte that the reader interprets: the outcome is a record or DataLoss, within
// a bounded number of reads. Sanitizer builds see to it that nothing outside the ring is touched.
TEST(Ring, EveryFlippedByteEndsInARecordOrAnError) {
  constexpr size_t kBytes = 4096;
  for (size_t at = 0; at < 24 + 3 * sizeof(RecordHeader); ++at) {
    for (int value = 0; value < 256; ++value) {
      TestRing ring(kBytes);
      std::vector<std::byte> payload, got;
      for (uint32_t i = 0; i < 3; ++i) {
        FillPayload(payload, i, 50);
        ASSERT_TRUE(*ring.writer.TryWrite(kTokensKind, payload));
      }
      std::byte* target;
      if (at < 8) {
        target = reinterpret_cast<std::byte*>(&ring.control->head) + at;
      } else if (at < 16) {
        target = reinterpret_cast<std::byte*>(&ring.control->tail) + (at - 8);
      } else if (at < 24) {
        target = reinterpret_cast<std::byte*>(&ring.control->data) + (at - 16);
      } else {
        const size_t record = (at - 24) / sizeof(RecordHeader);
        target = ring.data.data() + record * RecordBytes(50) + (at - 24) % sizeof(RecordHeader);
      }
      *target = static_cast<std::byte>(value);
      size_t reads = 0;
      for (;; ++reads) {
        ASSERT_LE(reads, 3u);
        const auto kind = ring.reader.TryRead(got);
        if (!kind.ok()) {
          ASSERT_EQ(kind.status().code(), absl::StatusCode::kDataLoss);
          break;
        }
        if (!kind->has_value()) break;
        ASSERT_LE(got.size(), kBytes);
      }
      (void)ring.writer.TryWrite(kTokensKind, payload);
    }
  }
}

}  // namespace
}  // namespace shardline
