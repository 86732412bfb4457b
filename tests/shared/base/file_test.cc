#include "shared/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "shared/base/quoted.h"

namespace shardline {
namespace {

using ::testing::StartsWith;

std::string Place(const std::string& name) {
  const std::string path = Cat(testing::TempDir(), "/file_test.", getpid(), ".", name);
  unlink(path.c_str());
  return path;
}

TEST(WholeFile, IsReadWithinItsBound) {
  const std::string path = Place("text");
  std::ofstream(path, std::ios::binary) << std::string("a\0b", 3);
  EXPECT_EQ(*ReadWholeFile(path, 3), std::string("a\0b", 3));
  const absl::Status larger = ReadWholeFile(path, 2).status();
  EXPECT_EQ(larger.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(larger), StartsWith(path + ": 3 bytes"));
  std::ofstream(path, std::ios::binary | std::ios::trunc).flush();
  EXPECT_EQ(*ReadWholeFile(path, 0), "");
}

TEST(WholeFile, WaitsForNothing) {
  const std::string pipe = Place("pipe"), circle = Place("circle");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(symlink(circle.c_str(), circle.c_str()), 0);
  for (const std::string& path : {pipe, circle, std::string("/dev/zero"), std::string("/tmp")}) {
    const absl::Status status = ReadWholeFile(path, 100).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(Message(status), StartsWith(path));
  }
  EXPECT_EQ(ReadWholeFile(Place("none"), 100).status().code(), absl::StatusCode::kNotFound);
}

TEST(OneLine, HasNoControlCharactersAndAnEnd) {
  EXPECT_EQ(OneLine("a\nb\x1b[2J\x7f\tc"), "a b [2J  c");
  EXPECT_EQ(OneLine(std::string(10, 'x'), 4), "xxxx…");
  EXPECT_EQ(OneLine("xxxx", 4), "xxxx");
}

}  // namespace
}  // namespace shardline
