#include "shared/base/flags.h"

#include <absl/flags/flag.h>
#include <gtest/gtest.h>

#include <fstream>

ABSL_FLAG(uint32_t, max_sequences, 8, "");
ABSL_FLAG(double, step_limit_seconds, 1, "");
ABSL_FLAG(bool, no_kv_cache, false, "");
ABSL_FLAG(std::string, model, "", "");

namespace shardline {
namespace {

std::string Wrong(std::vector<std::string> arguments) {
  const auto expanded = FlagArguments(arguments);
  return Message(expanded.ok() ? SetFlags(*expanded) : expanded.status());
}

TEST(Flags, AreSetByWhateverSpelling) {
  EXPECT_EQ(Wrong({"--max-sequences=3", "-step_limit_seconds", "2.5", "word", "--no-kv-cache",
                   "--model", "--x", "--", "--nothing"}),
            "");
  EXPECT_EQ(absl::GetFlag(FLAGS_max_sequences), 3u);
  EXPECT_EQ(absl::GetFlag(FLAGS_step_limit_seconds), 2.5);
  EXPECT_TRUE(absl::GetFlag(FLAGS_no_kv_cache));
  EXPECT_EQ(absl::GetFlag(FLAGS_model), "--x");
  EXPECT_EQ(Wrong({"--nono-kv-cache"}), "");
  EXPECT_FALSE(absl::GetFlag(FLAGS_no_kv_cache));
  EXPECT_EQ(Wrong({"--help", "-helpfull", "--help=cache", "--version"}), "");
}

TEST(Flags, TheFirstThatIsWrongIsNamed) {
  EXPECT_EQ(Wrong({"--max-sequences=many", "--bogus"}),
            "--max-sequences 'many': must be a whole number from 0 to 4294967295");
  EXPECT_EQ(Wrong({"--max_sequences", "-1"}),
            "--max-sequences '-1': must be a whole number from 0 to 4294967295");
  EXPECT_EQ(Wrong({"--max-sequences"}), "--max-sequences: a value must follow");
  EXPECT_EQ(Wrong({"--model", "--max-sequences=3"}), "--model: a value must follow");
  EXPECT_EQ(Wrong({"--step-limit-seconds="}), "--step-limit-seconds '': must be a number");
  EXPECT_EQ(Wrong({"--no-kv-cache=maybe"}), "--no-kv-cache 'maybe': must be true or false");
  EXPECT_EQ(Wrong({"--max-sequence=3"}),
            "there is no flag '--max-sequence'; the nearest is --max-sequences (see --help)");
  EXPECT_EQ(Wrong({"--nomodel"}),
            "there is no flag '--nomodel'; the nearest is --model (see --help)");
}

TEST(Flags, AFileOfThemIsReadAtOnce) {
  const std::string path = testing::TempDir() + "flags";
  std::ofstream(path) << "# a comment\n\n  --max-sequences=5 \n--no-kv-cache\n";
  EXPECT_EQ(Wrong({"--flagfile=" + path}), "");
  EXPECT_EQ(absl::GetFlag(FLAGS_max_sequences), 5u);
  std::ofstream(path) << "--flagfile=" << path << "\n";
  EXPECT_EQ(Wrong({"--flagfile", path}), "--flagfile " + path + ": nested too deep");
  EXPECT_EQ(Wrong({"--flagfile=/nonexistent"}),
            "--flagfile /nonexistent: No such file or directory");
  EXPECT_EQ(Wrong({"--flagfile=/dev/zero"}), "--flagfile /dev/zero: not a regular file");
  EXPECT_EQ(Wrong({"--flagfile=/"}), "--flagfile /: not a regular file");
}

}  // namespace
}  // namespace shardline
