// What a rank without weights says of itself, beside what the same rank with them really allocates
// and holds: every golden checkpoint on 1, 2 and 3 ranks, mixtures also with their experts dealt
// out.
#include "worker/plan/dry_rank.h"

#include "tests/worker/models/mixtures.h"
#include "tests/worker/models/thread_group.h"
#include "worker/weights/loader.h"

namespace shardline {
namespace {

constexpr int kMostRanks = 3;
constexpr int64_t kContext = 128, kBatch = 32;

// A rank as the worker loads it.
struct RealRank {
  std::unique_ptr<ProcessGroup> group;
  OpenedModel opened;
  MappedMemory memory;
};

ModelOptions Options(const std::string& name, const std::string& dtype,
                     bool expert_parallel = false) {
  return {.path = GoldenCheckpoint(name),
          .dtype = dtype,
          .ops = CpuOpsFor("scalar"),
          .expert_parallel = expert_parallel,
          .max_batch_tokens = kBatch,
          .max_context = kContext};
}

absl::Status Load(ModelOptions options, std::unique_ptr<ProcessGroup> group, RealRank& rank) {
  rank.group = std::move(group);
  options.group = rank.group.get();
  SL_ASSIGN_OR_RETURN(rank.opened, OpenModel(options));
  OpenedModel& opened = rank.opened;
  SL_ASSIGN_OR_RETURN(rank.memory,
                      LoadWeights(*opened.checkpoint, opened.names, opened.decoder->plan(),
                                  {.ops = options.ops, .type = opened.info.dtype}));
  return absl::OkStatus();
}

void ExpectSameWeights(DryRank& dry, RealRank& real) {
  const WeightPlan &a = dry.weights(), &b = real.opened.decoder->plan();
  ASSERT_EQ(a.matrices.size(), b.matrices.size());
  ASSERT_EQ(a.vectors.size(), b.vectors.size());
  const std::byte* end = real.memory.data();
  const auto place = [&](const void* data, size_t bytes, size_t offset) {
    EXPECT_EQ(static_cast<const std::byte*>(data) - real.memory.data(), offset);
    end = std::max(end, static_cast<const std::byte*>(data) + bytes);
  };
  for (size_t i = 0; i < a.matrices.size(); ++i) {
    EXPECT_EQ(a.matrices[i].packed->bytes, b.matrices[i].packed->bytes);
    EXPECT_EQ(a.matrices[i].packed->type, b.matrices[i].packed->type);
    place(b.matrices[i].packed->data, b.matrices[i].packed->bytes, dry.layout().matrices[i]);
  }
  for (size_t i = 0; i < a.vectors.size(); ++i) {
    EXPECT_EQ(a.vectors[i].view->bytes(), b.vectors[i].view->bytes());
    place(b.vectors[i].view->data, b.vectors[i].view->bytes(), dry.layout().vectors[i]);
  }
  const size_t used = end - real.memory.data();
  EXPECT_EQ((used + 63) / 64 * 64, dry.layout().bytes);
  EXPECT_LE(dry.layout().bytes, real.memory.bytes());
}

// A block of every group, found by what the pools' views span.
void ExpectSameState(const DryRank& dry, RealRank& real) {
  constexpr int32_t kBlocks = 3;
  const std::vector<StateGroup>& groups = real.opened.decoder->state_groups();
  ASSERT_EQ(dry.state_groups().size(), groups.size());
  const auto state = StateStorage::Create(groups, std::vector<int32_t>(groups.size(), kBlocks),
                                          /*max_sequences=*/2, kContext);
  ASSERT_TRUE(state.ok()) << state.status();
  for (size_t g = 0; g < groups.size(); ++g) {
    size_t bytes = 0;
    for (int layer = 0; layer < groups[g].layers; ++layer) {
      for (size_t part = 0; part < groups[g].parts.size(); ++part) {
        bytes += (*state)->part(static_cast<int>(g), layer, static_cast<int>(part)).bytes();
      }
      if (groups[g].recurrent()) continue;
      const KvPages pages = (*state)->pages(static_cast<int>(g), layer);
      bytes += pages.k.bytes() + (pages.v.data == pages.k.data ? 0 : pages.v.bytes());
    }
    EXPECT_EQ(dry.state_groups()[g].block_bytes() * kBlocks, bytes);
  }
}

class DryRanks : public testing::TestWithParam<std::string> {};

void ExpectRealSizes(const ModelOptions& options) {
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    ThreadRanks group(ranks);
    for (int r = 0; r < ranks; ++r) {
      SCOPED_TRACE(Cat(options.dtype, ", rank ", r, " of ", ranks));
      auto dry = DryRank::Open(options, {r, ranks});
      RealRank real;
      const absl::Status loaded = Load(options, group.Rank(r), real);
      ASSERT_EQ(dry.status(), loaded);  // too many ranks are too many for both
      if (!loaded.ok()) continue;
      ExpectSameWeights(**dry, real);
      ExpectSameState(**dry, real);
      ASSERT_TRUE(real.opened.decoder->Start(std::move(real.memory), real.opened.info).ok());
      EXPECT_EQ((*dry)->activation_bytes(), real.opened.decoder->activation_bytes());
    }
  }
}

TEST_P(DryRanks, HaveTheSizesOfRealOnes) {
  for (const char* dtype : {"f32", "bf16"}) ExpectRealSizes(Options(GetParam(), dtype));
  if (IsMixture(GetParam())) ExpectRealSizes(Options(GetParam(), "bf16", true));
}

// Bytes of a product's matrix that a step of one token reads.
uint64_t ReadOf(const MatrixTarget& target, const ModelSpec& spec) {
  const WeightSlot& slot = target.parts[0];
  const uint64_t row = target.packed->cols * SizeOf(target.packed->type);
  if (slot.name == "positions.weight") return row;
  if (slot.name == "embed.weight") return row + (spec.tied_head ? target.packed->bytes : 0);
  if (slot.name.find(".expert_") == std::string::npos) return target.packed->bytes;
  const auto& moe = std::get<Moe>(spec.blocks[std::stoi(slot.name)].ffn);
  return slot.expert.index < moe.active ? target.packed->bytes : 0;  // all experts are alike
}

TEST_P(DryRanks, ReadEveryWeightThatATokenNeeds) {
  const auto dry = DryRank::Open(Options(GetParam(), "bf16"), {0, 1});
  ASSERT_TRUE(dry.ok()) << dry.status();
  const ModelSpec& spec = (*dry)->spec();
  uint64_t expected = 0;
  for (const MatrixTarget& target : (*dry)->weights().matrices) expected += ReadOf(target, spec);
  for (const VectorTarget& target : (*dry)->weights().vectors) expected += target.view->bytes();
  for (const Block& block : spec.blocks) {  // norms of parts have weights of one
    const auto* mamba = std::get_if<Mamba>(&block.mixer);
    if (mamba != nullptr && mamba->part_norm) expected += (mamba->dt_rank + 2 * mamba->state) * 4;
  }
  for (const int64_t position : {0, 1, 77}) {
    uint64_t state = 0;
    for (const StateGroup& group : (*dry)->state_groups()) {
      const int64_t seen = group.window > 0 ? std::min(group.window, position + 1) : position + 1;
      state += group.block_bytes() * (group.recurrent() ? 2 * kBlockTokens : seen) / kBlockTokens;
    }
    const auto cost = (*dry)->Run({.first_position = position});
    ASSERT_TRUE(cost.ok()) << cost.status();
    EXPECT_EQ(cost->work.weight_bytes, expected);
    EXPECT_EQ(cost->work.state_bytes, state);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, DryRanks, testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

TEST(DryOps, HaveEveryOperation) {
  std::vector<void (*)()> operations((sizeof(Ops) - offsetof(Ops, scratch_bytes)) / sizeof(void*));
  std::memcpy(operations.data(), &DryOps().scratch_bytes, operations.size() * sizeof(void*));
  for (const auto operation : operations) EXPECT_NE(operation, nullptr);
}

// Products and attention of all layers, by hand.
TEST(DryOps, CountProducts) {
  const auto dry = DryRank::Open(Options("multi_query", "f32"), {0, 1});
  ASSERT_TRUE(dry.ok()) << dry.status();
  const ModelSpec& spec = (*dry)->spec();
  double expected = 2.0 * spec.vocabulary * spec.hidden;
  double attention = 0;  // of one position
  for (const Block& block : spec.blocks) {
    const auto& a = std::get<Attention>(block.mixer);
    const auto& mlp = std::get<Mlp>(block.ffn);
    expected += 2.0 * spec.hidden * a.head_dim * (2 * a.heads + 2 * a.kv_heads);
    expected += 2.0 * spec.hidden * mlp.inner * (mlp.gated ? 3 : 2);
    attention += 4.0 * a.heads * a.head_dim;
  }
  EXPECT_EQ((*dry)->Run({.first_position = 9})->work.flops, expected + 10 * attention);
  EXPECT_EQ((*dry)->Run({.sequences = 3, .first_position = 9})->work.flops,
            3 * (expected + 10 * attention));
  const double head = 2.0 * spec.vocabulary * spec.hidden;  // of the last token alone
  EXPECT_EQ((*dry)->Run({.tokens = 4})->work.flops,
            4 * (expected - head) + head + (1 + 2 + 3 + 4) * attention);
}

}  // namespace
}  // namespace shardline
