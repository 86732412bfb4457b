#include "shared/ipc/segment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "shared/ipc/channel.h"
#include "shared/ipc/message.h"

namespace shardline {
namespace {

using ::testing::HasSubstr;

TEST(Segment, BothMappingsShowTheSameMemory) {
  auto mine = Segment::Create(8192, 7);
  ASSERT_TRUE(mine.ok()) << mine.status();
  auto theirs = Segment::Map(dup(mine->fd()), 7);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_EQ(theirs->ring_bytes(), 8192u);
  EXPECT_EQ(theirs->epoch(), 7u);
  EXPECT_EQ(theirs->owner_pid(), getpid());
  for (Side side : {Side::kGateway, Side::kWorker}) {
    const auto a = mine->ring_data(side), b = theirs->ring_data(side);
    ASSERT_EQ(a.size(), 8192u);
    ASSERT_NE(a.data(), b.data());
    a.front() = a.back() = static_cast<std::byte>(1 + static_cast<int>(side));
    EXPECT_EQ(b.front(), a.front());
    EXPECT_EQ(b.back(), a.back());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % kCacheLine, 0u);
  }
  EXPECT_NE(mine->ring_data(Side::kGateway).front(), mine->ring_data(Side::kWorker).front());
}

TEST(Segment, CannotChangeItsSizeAndClosesOnExec) {
  auto segment = Segment::Create(4096, 1);
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(ftruncate(segment->fd(), 0), -1);
  EXPECT_EQ(ftruncate(segment->fd(), 1 << 24), -1);
  EXPECT_NE(fcntl(segment->fd(), F_GETFD) & FD_CLOEXEC, 0);
  struct stat info {};
  ASSERT_EQ(fstat(segment->fd(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 2 * 4096);  // allocated, not sparse
}

TEST(Segment, RefusesSizesAndEpochs) {
  for (uint64_t bytes :
       {uint64_t{0}, uint64_t{2048}, uint64_t{5000}, uint64_t{1} << 31, ~uint64_t{0}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Segment::Create(bytes, 1).status())) << bytes;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Segment::Create(4096, 0).status()));
}

TEST(Segment, WrongDescriptorsAreRefused) {
  EXPECT_THAT(Message(Segment::Map(987, 1).status()), HasSubstr("987"));
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_THAT(Message(Segment::Map(null, 1).status()), HasSubstr("not a sealed memfd"));
  const int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(plain, 1 << 20), 0);
  EXPECT_THAT(Message(Segment::Map(plain, 1).status()), HasSubstr("not a sealed memfd"));
  const int small = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(small, 100), 0);
  ASSERT_EQ(fcntl(small, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_THAT(Message(Segment::Map(small, 1).status()), HasSubstr("too small"));
}

// Spoils each field of the header in turn; nothing of it may be believed.
TEST(Segment, SpoiledHeadersAreRefused) {
  struct Row {
    size_t offset, size;
    const char* message;
  };
  const Row rows[] = {
      {offsetof(SegmentHeader, magic), 8, "magic"},
      {offsetof(SegmentHeader, abi_version), 4, "different builds"},
      {offsetof(SegmentHeader, header_bytes), 4, "different builds"},
      {offsetof(SegmentHeader, segment_bytes), 8, "cannot hold rings"},
      {offsetof(SegmentHeader, epoch), 8, "of epoch"},
      {offsetof(SegmentHeader, ring_bytes), 8, "cannot hold rings"},
  };
  for (const Row& row : rows) {
    for (size_t byte = 0; byte < row.size; ++byte) {
      for (int flip : {1, 2, 4, 8, 16, 32, 64, 128}) {
        auto segment = Segment::Create(4096, 7);
        ASSERT_TRUE(segment.ok());
        struct stat info {};
        ASSERT_EQ(fstat(segment->fd(), &info), 0);
        void* map =
            mmap(nullptr, info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd(), 0);
        ASSERT_NE(map, MAP_FAILED);
        static_cast<unsigned char*>(map)[row.offset + byte] ^= flip;
        const auto mapped = Segment::Map(dup(segment->fd()), 7);
        EXPECT_TRUE(absl::IsInvalidArgument(mapped.status()));
        EXPECT_THAT(Message(mapped.status()), HasSubstr(row.message)) << row.offset + byte;
        munmap(map, info.st_size);
      }
    }
  }
}

TEST(Segment, AttachNoticesAnOwnerThatIsGone) {
  for (size_t offset :
       {offsetof(SegmentHeader, owner_pid), offsetof(SegmentHeader, owner_start_ticks)}) {
    auto segment = Segment::Create(4096, 7);
    ASSERT_TRUE(segment.ok());
    void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd(), 0);
    ASSERT_NE(map, MAP_FAILED);
    const uint32_t nobody = 0x7ffffff0;  // above the kernel's largest pid
    std::memcpy(static_cast<char*>(map) + offset, &nobody, sizeof(nobody));
    const auto channel = Channel::Attach(dup(segment->fd()), 7);
    EXPECT_TRUE(absl::IsUnavailable(channel.status())) << channel.status();
    munmap(map, 4096);
  }
}

}  // namespace
}  // namespace shardline
