#include "shared/ipc/group_segment.h"

#include <new>
#include <utility>

namespace shardline {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t DataOffset(int ranks) {
  const uint64_t words = sizeof(GroupHeader) + static_cast<uint64_t>(ranks) * sizeof(RankControl);
  return (words + kPage - 1) / kPage * kPage;
}
uint64_t SegmentBytes(int ranks, uint64_t buffer_bytes) {
  return DataOffset(ranks) + 2 * static_cast<uint64_t>(ranks) * buffer_bytes;
}

bool ValidRanks(int64_t ranks) { return ranks >= 1 && ranks <= kMaxRanks; }
bool ValidBuffer(uint64_t bytes) {
  return bytes >= kMinBufferBytes && bytes <= kMaxBufferBytes && bytes % kMinBufferBytes == 0;
}

}  // namespace

absl::StatusOr<GroupSegment> GroupSegment::Create(int ranks, uint64_t epoch,
                                                  uint64_t buffer_bytes) {
  if (!ValidRanks(ranks)) {
    return InvalidArgument("group: ", ranks, " ranks, not from 1 to ", kMaxRanks);
  }
  if (epoch == 0) return InvalidArgument("group: epoch is 0");
  if (!ValidBuffer(buffer_bytes)) {
    return InvalidArgument("group: buffer_bytes is ", buffer_bytes, ", not a multiple of ",
                           kMinBufferBytes, " up to ", kMaxBufferBytes);
  }
  const uint64_t bytes = SegmentBytes(ranks, buffer_bytes);
  SL_ASSIGN_OR_RETURN(SealedMemory memory, SealedMemory::Create("group", bytes));
  GroupHeader& header = *new (memory.data()) GroupHeader{};  // all words zero, here and behind it
  header.magic = kGroupMagic;
  header.abi_version = kGroupAbiVersion;
  header.header_bytes = sizeof(GroupHeader);
  header.segment_bytes = bytes;
  header.epoch = epoch;
  header.ranks = static_cast<uint32_t>(ranks);
  header.rank_bytes = sizeof(RankControl);
  header.buffer_bytes = buffer_bytes;
  return GroupSegment(std::move(memory), ranks, buffer_bytes);
}

absl::StatusOr<GroupSegment> GroupSegment::Map(int fd, int ranks, uint64_t epoch) {
  SL_ASSIGN_OR_RETURN(SealedMemory memory, SealedMemory::Map("group", fd, sizeof(GroupHeader)));
  const auto& header = *reinterpret_cast<const GroupHeader*>(memory.data());
  if (header.magic != kGroupMagic) return InvalidArgument("group: wrong magic number");
  if (header.abi_version != kGroupAbiVersion || header.header_bytes != sizeof(GroupHeader) ||
      header.rank_bytes != sizeof(RankControl)) {
    return InvalidArgument("group: ABI version ", header.abi_version, " with a header of ",
                           header.header_bytes, " bytes; this program has ", kGroupAbiVersion,
                           " with ", sizeof(GroupHeader), ": the ranks are of different builds");
  }
  if (header.epoch != epoch) {
    return InvalidArgument("group: the segment is of epoch ", header.epoch, ", not ", epoch);
  }
  if (!ValidRanks(ranks) || header.ranks != static_cast<uint32_t>(ranks)) {
    return InvalidArgument("group: the segment is for ", header.ranks, " ranks, not ", ranks);
  }
  const uint64_t buffer_bytes = header.buffer_bytes;
  const uint64_t bytes = memory.bytes();
  if (!ValidBuffer(buffer_bytes) || SegmentBytes(ranks, buffer_bytes) != bytes ||
      header.segment_bytes != bytes) {
    return InvalidArgument("group: a segment of ", bytes, " bytes cannot hold ", ranks,
                           " ranks' buffers of ", buffer_bytes);
  }
  return GroupSegment(std::move(memory), ranks, buffer_bytes);
}

std::byte* GroupSegment::buffer(int rank, uint64_t round) const {
  const uint64_t index = 2 * static_cast<uint64_t>(rank) + round % 2;
  return memory_.data() + DataOffset(ranks_) + index * buffer_bytes_;
}

}  // namespace shardline
