#include "shared/format/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <utility>

namespace shardline {
namespace {

using ::testing::StartsWith;

std::string Write(const std::string& name, std::string_view text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string Text(const MappedFile& file) {
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

TEST(MappedFile, MapsAndMoves) {
  auto file = MappedFile::Open(Write("mapped_a", "hello"));
  ASSERT_TRUE(file.ok()) << Message(file.status());
  const std::byte* data = file->bytes().data();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_EQ(Text(moved), "hello");
  auto other = MappedFile::Open(Write("mapped_b", "other"));
  ASSERT_TRUE(other.ok());
  moved = *std::move(other);
  EXPECT_EQ(Text(moved), "other");
}

TEST(MappedFile, MapsAnEmptyFile) {
  const auto file = MappedFile::Open(Write("mapped_empty", ""));
  ASSERT_TRUE(file.ok()) << Message(file.status());
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, NamesWhatItCannotOpen) {
  const auto missing = MappedFile::Open("/nonexistent/x");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing.status()), StartsWith("/nonexistent/x: "));
  const auto directory = MappedFile::Open("/tmp");
  EXPECT_EQ(directory.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(directory.status()), StartsWith("/tmp: not a regular file"));
}

TEST(MappedFileDeathTest, EndsClearlyWhenTheFileShrinks) {
  const auto file = MappedFile::Open(Write("mapped_shrinks", std::string(1 << 16, 'x')));
  ASSERT_TRUE(file.ok());
  EXPECT_EXIT(
      {
        ExitWhenMappedFilesShrink("program");
        if (truncate((testing::TempDir() + "/mapped_shrinks").c_str(), 0) != 0) std::abort();
        volatile auto read = file->bytes()[1 << 15];
        static_cast<void>(read);
      },
      testing::ExitedWithCode(2), "program: a model file became shorter");
}

TEST(MappedFile, DoesNotWaitForAPipesWriter) {
  const std::string path = testing::TempDir() + "/mapped_pipe";
  unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(MappedFile::Open(path).ok());
  unlink(path.c_str());
}

}  // namespace
}  // namespace shardline
