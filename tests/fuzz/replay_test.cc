// The fuzzers' entry points in every build: each seed as it is, then mutated from fixed numbers,
// again and again from what a mutation made. What must hold is checked by the entry point itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed);

namespace {

constexpr int kChain = 4;  // mutations on top of each other

std::vector<std::string> Seeds() {
  std::vector<std::filesystem::path> paths;
  std::string list = SHARDLINE_FUZZ_SEEDS;  // separated by ':'
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    paths.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  std::vector<std::string> seeds;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    EXPECT_FALSE(seeds.back().empty()) << path;
  }
  return seeds;
}

void Feed(std::string_view input) {
  // A copy of exactly this size, so that sanitizers see a read past the end.
  const std::vector<uint8_t> copy(input.begin(), input.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

TEST(Replay, SeedsAndTheirMutations) {
  const std::vector<std::string> seeds = Seeds();
  ASSERT_FALSE(seeds.empty());
  unsigned number = 1;
  for (const std::string& seed : seeds) {
    Feed(seed);
    for (size_t i = 0; i < SHARDLINE_FUZZ_CASES / kChain / seeds.size() + 1; ++i) {
      std::string input = seed;
      for (int link = 0; link < kChain; ++link) {
        std::vector<uint8_t> buffer(input.begin(), input.end());
        buffer.resize(input.size() * 2 + 4096);
        const size_t size =
            LLVMFuzzerCustomMutator(buffer.data(), input.size(), buffer.size(), number++);
        input.assign(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(size));
        Feed(input);
      }
    }
  }
}

}  // namespace
