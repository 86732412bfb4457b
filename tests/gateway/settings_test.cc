// Flags of a gateway that is one of several nodes.
#include "gateway/settings.h"

#include <absl/flags/reflection.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardline {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

absl::StatusOr<Settings> Parse(std::vector<std::string> flags) {
  const absl::FlagSaver saver;
  flags.insert(flags.begin(),
               {"shardline-gateway", "--model=/model", "--worker-program=/bin/true"});
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  return SettingsFromCommandLine(static_cast<int>(argv.size()), argv.data());
}

TEST(Settings, OfNodesThatDoNotFitNameTheFlag) {
  const std::string at = "--rendezvous=node-0:7777";
  for (const auto& [flags, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--nodes=0"}, "--nodes 0: "},
           {{"--nodes=2", at}, "--nodes 2: must be at most --tensor-parallel (1)"},
           {{"--nodes=3", "--tensor-parallel=2", at}, "--nodes 3: "},
           {{"--node-rank=1"}, "--node-rank 1: must be less than --nodes (1)"},
           {{"--nodes=2", "--node-rank=2", "--tensor-parallel=2", at}, "--node-rank 2: "},
           {{"--nodes=2", "--tensor-parallel=2"}, "--rendezvous is missing"},
           {{"--nodes=2", "--tensor-parallel=2", "--rendezvous=7777"}, "--rendezvous 7777: "},
           {{"--nodes=2", "--tensor-parallel=2", "--rendezvous=a:0"}, "--rendezvous a:0: "},
           {{at}, "--rendezvous: --tensor-parallel is 1"},
           {{"--nodes=2", "--tensor-parallel=2", "--replicas=2", at}, "--replicas 2: "}}) {
    const auto settings = Parse(flags);
    ASSERT_FALSE(settings.ok()) << text;
    EXPECT_THAT(Message(settings.status()), StartsWith(text));
    EXPECT_THAT(Message(settings.status()), Not(HasSubstr("\n")));
  }
}

TEST(Settings, TellEachRankItsPlace) {
  const auto settings = Parse({"--nodes=2", "--node-rank=1", "--tensor-parallel=3",
                               "--rendezvous=node-0:7777", "--threads=4"});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->local_ranks().first, 2);
  EXPECT_EQ(settings->local_ranks().count, 1);
  const auto arguments = WorkerArguments(*settings, 5, 2);
  for (const char* flag : {"--rank=2", "--ranks=3", "--nodes=2", "--node-rank=1",
                           "--rendezvous=node-0:7777", "--epoch=5"}) {
    EXPECT_THAT(arguments, Contains(flag));
  }
  EXPECT_THAT(arguments, Not(Contains(HasSubstr("-fd=4"))));
  EXPECT_THAT(WorkerArguments(*settings, 5, 0), Contains("--rendezvous-fd=4"));
}

TEST(Settings, OfOneHostMeetInSharedMemory) {
  const auto settings = Parse({"--tensor-parallel=2"});
  ASSERT_TRUE(settings.ok()) << settings.status();
  const auto arguments = WorkerArguments(*settings, 5, 1);
  EXPECT_THAT(arguments, Contains("--group-fd=4"));
  EXPECT_THAT(arguments, Not(Contains(HasSubstr("rendezvous"))));
}

}  // namespace
}  // namespace shardline
