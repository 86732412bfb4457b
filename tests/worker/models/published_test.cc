// Every tensor of published checkpoints has its place in the model that their configuration makes,
// and no other has: names and shapes alone, whatever the size, on one rank and on several.
#include "tests/worker/models/published.h"

#include <gtest/gtest.h>

#include <chrono>

#include "worker/models/open.h"
#include "worker/parallel/process_group.h"
#include "worker/weights/resolve.h"

namespace shardline {
namespace {

// A rank of which only the place counts: nothing is computed here.
class Place final : public ProcessGroup {
 public:
  Place(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::Status AllReduce(const View&) override { return absl::InternalError("not to be called"); }
  absl::Status AllGather(const View&, const View&) override {
    return absl::InternalError("not to be called");
  }
  absl::Status Broadcast(const View&, int) override {
    return absl::InternalError("not to be called");
  }
  absl::Status Barrier() override { return absl::InternalError("not to be called"); }
  void SetLimit(std::chrono::nanoseconds) override {}
  void Abort(std::string_view) override {}
  absl::Status ended() const override { return absl::OkStatus(); }

 private:
  int rank_, size_;
};

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

class Published : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
    std::replace(test.begin(), test.end(), '/', '_');
    folder_ = testing::TempDir() + "/published_" + test;
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string WriteFolder(const std::string& name, const std::vector<HollowTensor>& tensors) {
    std::filesystem::copy_file(PublishedFolder() + "/" + name + "/config.json",
                               folder_ + "/config.json",
                               std::filesystem::copy_options::overwrite_existing);
    WriteHollowSafetensors(folder_ + "/model.safetensors", tensors);
    return folder_;
  }
  std::string WriteGguf(const PublishedList& list) {
    const std::string path = folder_ + "/model.gguf";
    WriteHollowGguf(path, list.metadata, list.keys, list.tensors, GgmlType::kF16);
    return path;
  }
  std::string folder_;
};

// Opens and resolves; tells the tensors that no weight is read from.
absl::StatusOr<OpenedModel> Open(const std::string& path, std::set<std::string>& unread,
                                 ProcessGroup* group = nullptr) {
  absl::StatusOr<OpenedModel> opened =
      OpenModel({.path = path, .dtype = "bf16", .ops = &CpuOps(), .group = group});
  if (!opened.ok()) return opened;
  const auto sources = ResolveSources(*opened->checkpoint, opened->names, opened->decoder->plan());
  if (!sources.ok()) return sources.status();
  unread.clear();
  for (const StoredTensor& tensor : opened->checkpoint->tensors()) unread.insert(tensor.name);
  for (const auto* targets : {&sources->matrices, &sources->vectors}) {
    for (const std::vector<Source>& parts : *targets) {
      for (const Source& source : parts) unread.erase(source.tensor->name);
    }
  }
  return opened;
}

int64_t KvBytesPerToken(const Decoder& decoder) {
  size_t bytes = 0;
  for (const StateGroup& group : decoder.state_groups()) {
    if (!group.recurrent()) bytes += group.block_bytes();
  }
  return static_cast<int64_t>(bytes / kBlockTokens);
}

// Elements of all weights on this rank.
int64_t LocalElements(const WeightPlan& plan) {
  int64_t elements = 0;
  for (const MatrixTarget& target : plan.matrices) elements += target.rows() * target.cols();
  for (const VectorTarget& target : plan.vectors) elements += target.size();
  return elements;
}

TEST_P(Published, MapsOneToOne) {
  const PublishedList list = ReadPublished(GetParam(), "tensors.txt");
  std::set<std::string> unread;
  const auto opened = Open(WriteFolder(GetParam(), list.tensors), unread);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(unread, list.unread);
  EXPECT_EQ(opened->info.parameters, list.parameters);
  EXPECT_EQ(KvBytesPerToken(*opened->decoder), list.kv_bytes_per_token);
}

// All ranks' tensors fill all slots, and the largest share is little more than a fair one where the
// model is large: what is whole on every rank is small.
TEST_P(Published, IsCutForSeveralRanks) {
  const PublishedList list = ReadPublished(GetParam(), "tensors.txt");
  const std::string path = WriteFolder(GetParam(), list.tensors);
  const bool large = list.parameters > 6'000'000'000;
  std::vector<int> groups = {2, 4};  // the smallest models have four heads
  if (list.parameters > 1'100'000'000) groups.push_back(8);
  for (const int ranks : groups) {
    for (int rank = 0; rank < ranks; ++rank) {
      Place place(rank, ranks);
      std::set<std::string> unread;
      const auto opened = Open(path, unread, &place);
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_EQ(unread, list.unread);
      const double share = LocalElements(opened->decoder->plan()) / double(list.parameters);
      EXPECT_GE(share * ranks, 0.85) << "of " << ranks;
      EXPECT_LE(share * ranks, large ? 1.15 : 1.5) << "of " << ranks;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Published, testing::ValuesIn(PublishedNames("tensors.txt")),
                         TestName);

// One changed letter and one changed number are found, in every line of the list.
class PublishedChanged : public Published {};

TEST_P(PublishedChanged, NamesAndShapesAreErrors) {
  const PublishedList list = ReadPublished(GetParam(), "tensors.txt");
  std::set<std::string> unread;
  for (const size_t i : list.lines) {
    const std::string name = list.tensors[i].name;
    std::vector<HollowTensor> changed = list.tensors;
    changed[i].name.back() = '_';
    std::string error = Message(Open(WriteFolder(GetParam(), changed), unread).status());
    EXPECT_NE(error.find("missing tensors: "), error.npos) << name << ": " << error;
    EXPECT_NE(error.find(changed[i].name), error.npos) << name << ": " << error;  // unused
    changed = list.tensors;
    changed[i].shape[0] += 1;
    error = Message(Open(WriteFolder(GetParam(), changed), unread).status());
    EXPECT_NE(error.find(Cat("wrong shapes: ", name)), error.npos) << name << ": " << error;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedChanged,
                         testing::Values("llama-3-8b", "falcon-180b", "mixtral-8x7b",
                                         "deepseek-v2-lite", "granite-3.1-1b-a400m", "mamba-130m",
                                         "chatglm2-6b", "replit-code-v1_5-3b", "gemma-3-4b"),
                         TestName);

class PublishedGguf : public Published {};

TEST_P(PublishedGguf, MapsOneToOne) {
  std::set<std::string> unread;
  const auto opened = Open(WriteGguf(ReadPublished(GetParam(), "gguf.txt")), unread);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const PublishedList list = ReadPublished(GetParam(), "tensors.txt");
  std::erase_if(unread, [](const std::string& name) { return name.starts_with("rope_f"); });
  EXPECT_EQ(unread, std::set<std::string>{});
  EXPECT_EQ(opened->info.parameters, list.parameters);
  EXPECT_EQ(KvBytesPerToken(*opened->decoder), list.kv_bytes_per_token);
}

// Of a file whose last block predicts the token after the next one, the others are the model.
class NextTokenBlocks : public Published {};

TEST_F(NextTokenBlocks, AreNotRead) {
  for (const auto& [name, architecture, layers] :
       {std::tuple{"glm-4-9b-0414", "glm4", 40}, {"qwen3-30b-a3b", "qwen3moe", 48}}) {
    PublishedList list = ReadPublished(name, "gguf.txt");
    const std::string last = Cat("blk.", layers - 1, ".");
    list.tensors.push_back({last + "nextn.eh_proj.weight", {4, 8}});
    const std::string key = Cat(architecture, ".nextn_predict_layers");
    PublishedList whole = list, none = list;
    AddMetadata(list, key, "u32", "1");
    std::set<std::string> unread, expected;
    const auto opened = Open(WriteGguf(list), unread);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->info.layers, layers - 1);
    for (const HollowTensor& tensor : list.tensors) {
      if (tensor.name.starts_with(last)) expected.insert(tensor.name);
    }
    EXPECT_EQ(unread, expected);
    const std::string unused = Message(Open(WriteGguf(whole), unread).status());
    EXPECT_NE(unused.find(Cat("unused tensors: ", last, "nextn.eh_proj.weight")), unused.npos);
    AddMetadata(none, key, "u32", Cat(layers));
    const std::string error = Message(Open(WriteGguf(none), unread).status());
    EXPECT_NE(error.find(Cat("nextn_predict_layers ", layers, " is not less than block_count ")),
              error.npos)
        << error;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedGguf, testing::ValuesIn(PublishedNames("gguf.txt")),
                         TestName);

}  // namespace
}  // namespace shardline
