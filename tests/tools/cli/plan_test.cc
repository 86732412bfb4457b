// `plan`: tables and JSON of published configurations, and what bad flags get. That its figures are
// those of real ranks is tests/worker/plan's affair.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "shared/base/file.h"
#include "shared/base/strings.h"
#include "tools/cli/commands.h"
#include "tools/cli/json.h"

namespace shardline::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

const std::string kTests = SHARDLINE_SOURCE_DIR "/tests/";
const std::string kFalcon = kTests + "published/falcon-180b/config.json";
const std::string kMixtral = kTests + "published/mixtral-8x7b/config.json";

struct Result {
  int code;
  std::string out, err;
};
Result Call(const Arguments& arguments) {
  std::istringstream in;
  std::ostringstream out, err;
  Streams streams{in, out, err};
  const int code = Plan(arguments, streams);
  return {code, out.str(), err.str()};
}

Json CallJson(Arguments arguments) {
  arguments.emplace_back("--json");
  const Result result = Call(arguments);
  EXPECT_EQ(result.code, kDone) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1);
  return ParseJson(result.out);
}

// Falcon-180B: 80 layers of 232 heads and 8 key-value heads of 64, inner size 4 * 14848.
TEST(PlanCommand, CutsFalcon180b) {
  const Json plan = CallJson({kFalcon, "--tensor-parallel=8", "--device=h100-80g"});
  EXPECT_EQ(plan["family"], "falcon");
  EXPECT_EQ(plan["dtype"], "bf16");
  EXPECT_EQ(plan["layers"], 80);
  ASSERT_EQ(plan["ranks"].size(), 1u);  // 8 ranks that are alike
  const Json& rank = plan["ranks"][0];
  EXPECT_THAT(rank["ranks"], ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  const int64_t hidden = 14848, vocabulary = 65024;
  const int64_t matrices = 80 * (hidden * 64 * (2 * 232 + 2 * 8) + 2 * hidden * 4 * hidden);
  const int64_t weights = (matrices + vocabulary * hidden) * 2 / 8 + (2 * 80 + 1) * 2 * hidden * 4;
  EXPECT_EQ(rank["weight_bytes"], weights);
  EXPECT_EQ(rank["copied_weight_bytes"], (2 * 80 + 1) * 2 * hidden * 4);  // the norms
  EXPECT_EQ(rank["kv_bytes_per_token"], 80 * 2 * 64 * 2);
  const Json& step = plan["decode"][0];
  EXPECT_EQ(step["all_reduces"], 81);
  EXPECT_EQ(step["all_reduce_bytes"], 81 * hidden * 2);
  EXPECT_EQ(step["all_gather_bytes"], vocabulary / 8 * 4);
  EXPECT_NEAR(step["tokens_per_second_by_bandwidth"], 3350e9 / double(weights), 1);
  EXPECT_EQ(plan["fits"], true);
  EXPECT_FALSE(plan.contains("smallest_tensor_parallel"));
}

// Two of eight experts are read for a token.
TEST(PlanCommand, ReadsTheChosenExpertsOfMixtral) {
  const Json plan = CallJson({kMixtral, "--tensor-parallel", "2", "--device", "h100-80g"});
  const int64_t weights = plan["ranks"][0]["weight_bytes"], read = plan["decode"][0]["bytes_read"];
  const int64_t expert = 3 * 4096 * 14336 / 2 * 2;
  const int64_t embedding = int64_t{32000} * 4096 / 2 * 2, row = 4096 * 2;
  const int64_t kv = plan["ranks"][0]["kv_bytes_per_token"];
  EXPECT_EQ(read, weights - 32 * 6 * expert - embedding + row + 2048 * kv);
  EXPECT_EQ(plan["decode"][0]["all_reduces"], 65);
  EXPECT_EQ(plan["contexts"][1]["tokens"], 32768);
  EXPECT_EQ(plan["contexts"][1]["bytes_per_sequence"], 32768 * kv);
  EXPECT_EQ(plan["contexts"][1]["sequences"],
            plan["ranks"][0]["left_for_state_bytes"].get<int64_t>() / (32768 * kv));
}

// Rank 0 has all of a token's experts where it has as many.
TEST(PlanCommand, DealsOutTheExpertsOfMixtral) {
  const Arguments flags = {kMixtral, "--tensor-parallel=3", "--device=h100-80g"};
  Arguments whole = flags;
  whole.emplace_back("--expert-parallel");
  const Json cut = CallJson(flags), dealt = CallJson(whole);
  EXPECT_EQ(cut["expert_parallel"], false);
  EXPECT_EQ(dealt["expert_parallel"], true);
  EXPECT_EQ(dealt["parameters"], cut["parameters"]);
  ASSERT_EQ(dealt["ranks"].size(), 2u);
  EXPECT_THAT(dealt["ranks"][0]["ranks"], ElementsAre(0, 1));
  EXPECT_THAT(dealt["ranks"][1]["ranks"], ElementsAre(2));
  const int64_t expert = 32 * 3 * int64_t{4096} * 14336 * 2;  // of all layers
  const int64_t first = dealt["ranks"][0]["weight_bytes"], last = dealt["ranks"][1]["weight_bytes"];
  const int64_t head = 32 * int64_t{4096} * 128 * (2 * 4 + 2) * 2;  // of keys, with its queries
  EXPECT_EQ(first - last, expert + head);  // three and two experts, three and two heads
  const int64_t others = first - 3 * expert, read = dealt["decode"][0]["bytes_read"];
  EXPECT_GT(read, 2 * expert);
  EXPECT_LT(read,
            2 * expert + others + 2048 * dealt["ranks"][0]["kv_bytes_per_token"].get<int64_t>());
  EXPECT_EQ(dealt["decode"][0]["all_reduces"], 65);
  EXPECT_EQ(dealt["decode"][0]["all_reduce_bytes"], cut["decode"][0]["all_reduce_bytes"]);
  EXPECT_THAT(Call(whole).out, HasSubstr("3 ranks with whole experts on h100-80g"));
}

TEST(PlanCommand, NamesTheSmallestNumberOfRanksThatFits) {
  const Json one = CallJson({kFalcon, "--device=h100-80g"});
  EXPECT_EQ(one["fits"], false);
  EXPECT_LT(one["ranks"][0]["left_for_state_bytes"], 0);
  const int smallest = one["smallest_tensor_parallel"];
  for (const int ranks : {smallest - 1, smallest}) {
    const Json plan = CallJson({kFalcon, "--device=h100-80g", Cat("--tensor-parallel=", ranks)});
    EXPECT_EQ(plan["fits"], ranks == smallest);
  }
  EXPECT_THAT(Call({kFalcon, "--device=h100-80g"}).out,
              HasSubstr(Cat("; --tensor-parallel ", smallest, " is the smallest that does\n")));
  const Result none = Call({kFalcon, "--device-memory=1000000"});
  EXPECT_EQ(none.code, kDone);
  EXPECT_THAT(none.out, HasSubstr("does not fit with a sequence of 2048 tokens; nor does it"));
}

TEST(PlanCommand, ShowsUnevenRanksApart) {
  const Json plan = CallJson({kTests + "golden/mamba", "--tensor-parallel=3", "--dtype=f32"});
  ASSERT_EQ(plan["ranks"].size(), 2u);
  EXPECT_THAT(plan["ranks"][0]["ranks"], ElementsAre(0));
  EXPECT_THAT(plan["ranks"][1]["ranks"], ElementsAre(1, 2));
  EXPECT_GT(plan["ranks"][0]["weight_bytes"], plan["ranks"][1]["weight_bytes"]);
  EXPECT_EQ(plan["ranks"][0]["kv_bytes_per_token"], 0);
  EXPECT_GT(plan["ranks"][0]["state_bytes_per_sequence"], 0);
  EXPECT_FALSE(plan.contains("device"));
  EXPECT_FALSE(plan["decode"][0].contains("tokens_per_second_by_bandwidth"));
}

TEST(PlanCommand, WindowsBoundWhatASequenceHolds) {
  const Json plan = CallJson({kTests + "golden/gemma3", "--context=100,100000",
                              "--max-context=200000", "--max-batch-tokens=16", "--dtype=bf16"});
  const Json& rank = plan["ranks"][0];
  int64_t full = 0, window = 0;
  for (const Json& group : rank["state_groups"]) {
    (group["window"] > 0 ? window : full) += group["bytes_per_token"].get<int64_t>();
  }
  EXPECT_GT(window, full);
  EXPECT_EQ(plan["contexts"][1]["bytes_per_sequence"].get<int64_t>(),
            100000 * full + 16 * (2 + 2) * window);  // of 8 and a step of 16, and two blocks
}

TEST(PlanCommand, TakesEveryFormOfAModel) {
  const std::string folder = kTests + "golden/llama";
  const Json files = CallJson({folder}), config = CallJson({"--model", folder + "/config.json"});
  EXPECT_EQ(files["parameters"], config["parameters"]);
  EXPECT_EQ(CallJson({folder, "--dtype=bf16"})["ranks"],
            CallJson({folder + "/config.json", "--dtype=bf16"})["ranks"]);
  EXPECT_EQ(CallJson({kTests + "golden/gguf_of_llama/model.gguf"})["parameters"],
            files["parameters"]);
  EXPECT_EQ(CallJson({kTests + "published/falcon-180b"}), CallJson({kFalcon}));
}

TEST(PlanCommand, TakesTheTypeFromWeightsOrConfiguration) {
  EXPECT_EQ(CallJson({kTests + "golden/gguf_f32/model.gguf"})["dtype"], "f32");
  EXPECT_EQ(CallJson({kTests + "golden/gguf_q4_0/model.gguf"})["dtype"], "bf16");
  EXPECT_EQ(CallJson({kTests + "golden/gguf_f32/model.gguf", "--dtype=f16"})["dtype"], "f16");
  Json config = ParseJson(ReadWholeFile(kMixtral, size_t{1} << 20).value());
  const std::string path = testing::TempDir() + "/plan_config.json";
  for (const auto& [stated, served] :
       {std::pair{"float32", "f32"}, {"bfloat16", "bf16"}, {"float16", "bf16"}}) {
    config["torch_dtype"] = stated;
    std::ofstream(path) << config;
    EXPECT_EQ(CallJson({path})["dtype"], served);
  }
}

TEST(PlanCommand, TakesADevicesFiguresFromFlags) {
  const Json named = CallJson({kMixtral, "--device=h200", "--device-bandwidth=1000"});
  EXPECT_EQ(named["device"]["memory_bytes"], 141000000000);
  EXPECT_EQ(named["device"]["bytes_per_second"], 1e12);
  const Json other = CallJson({kMixtral, "--device_memory=200000000000", "--device-tflops=1",
                               "--device-reserve=0", "--max-sequences=7"});
  const Json& rank = other["ranks"][0];
  EXPECT_EQ(
      rank["left_for_state_bytes"].get<int64_t>(),
      200000000000 - rank["weight_bytes"].get<int64_t>() - rank["activation_bytes"].get<int64_t>());
  const Json& step = other["decode"][1];
  EXPECT_EQ(step["sequences"], 7);
  EXPECT_FALSE(step.contains("tokens_per_second_by_bandwidth"));
  EXPECT_DOUBLE_EQ(step["tokens_per_second_by_compute"], 7e12 / step["flops"].get<double>());
}

TEST(PlanCommand, RefusesInOneLineThatNamesTheFlag) {
  const std::string broken = testing::TempDir() + "/plan_broken.json";
  std::ofstream(broken) << R"({"architectures": ["LlamaForCausalLM"], "hidden_size": "wide"})";
  const std::vector<std::pair<Arguments, std::string>> cases = {
      {{}, "--model"},
      {{kFalcon, kMixtral}, "unexpected argument"},
      {{kFalcon, "--model", kMixtral}, "unexpected argument"},
      {{kFalcon, "--tensor-parallel=0"}, "--tensor-parallel: '0' is no whole number"},
      {{kFalcon, "--tensor-parallel=two"}, "--tensor-parallel: 'two'"},
      {{kFalcon, "--tensor-parallel=233"}, "--tensor-parallel=233 is too many: "},
      {{kTests + "golden/llama", "--tensor-parallel=5"}, "--tensor-parallel=5 is too many: "},
      {{kMixtral, "--tensor-parallel=9", "--expert-parallel"},
       "--tensor-parallel=9 with --expert-parallel is too many: "},
      {{kFalcon, "--expert-parallel"}, "--expert-parallel: this model has no experts"},
      {{kFalcon, "--device=h101"}, "--device: 'h101' is not known; "},
      {{kFalcon, "--device=h101"}, "the nearest name is h100-80g"},
      {{kFalcon, "--device=mi300"}, "the nearest name is mi300x"},
      {{kFalcon, "--device-memory=-1"}, "--device-memory: "},
      {{kFalcon, "--device-memory=18446744073709551615"}, "--device-memory: "},
      {{kFalcon, "--device-reserve=1"}, "--device-reserve: 1 is more than"},
      {{kFalcon, "--device-bandwidth=0"}, "--device-bandwidth: '0' is no number"},
      {{kFalcon, "--device-tflops=nan"}, "--device-tflops: 'nan' is no number"},
      {{kFalcon, "--dtype=int4"}, "--dtype=int4"},
      {{kFalcon, "--context=100,0"}, "--context: '100,0' is no list"},
      {{kFalcon, "--context=4096"}, "--context: 4096 is longer than the 2048 positions"},
      {{kFalcon, "--max-context=0"}, "--max-context: '0'"},
      {{kFalcon, "--gpus=8"}, "unknown flag '--gpus'"},
      {{kTests + "none.json"}, "none.json"},
      {{kTests + "golden"}, "config.json"},
      {{broken}, "hidden_size"},
  };
  for (const auto& [arguments, reason] : cases) {
    const Result result = Call(arguments);
    EXPECT_EQ(result.code, kBadInput) << reason;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(testing::StartsWith("shardline plan: "), HasSubstr(reason)));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

}  // namespace
}  // namespace shardline::cli
