// Every golden checkpoint against transformers, and against itself in every way a sequence can be
// run.
#include "tests/worker/models/golden.h"

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "shared/format/gguf.h"
#include "tests/worker/models/runner.h"

namespace shardline {
namespace {

class Golden : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    cases_ = ReadGolden(GetParam());
    for (const GoldenCase& c : cases_) {
      context_ = std::max<int64_t>(context_, c.prompt.size() + c.output.size());
    }
  }
  LoadedModel Load(const Ops& ops, std::string dtype = "f32", int threads = 1) const {
    return LoadModel(GoldenCheckpoint(GetParam()), ops, std::move(dtype), threads, context_);
  }
  std::vector<GoldenCase> cases_;
  int64_t context_ = 128;  // dynamic rope runs past the context that its configuration states
};

// A NaN sticks.
double Larger(double a, double b) { return std::isnan(a) || b <= a ? a : b; }

// The largest difference between log-probabilities.
double Difference(const Logits& logits, const std::vector<std::vector<float>>& expected) {
  EXPECT_EQ(logits.size(), expected.size());
  double most = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const std::vector<double> got = LogSoftmax(logits[i]);
    for (size_t j = 0; j < got.size(); ++j) {
      const double difference = std::abs(got[j] - expected[i][j]);
      most = Larger(most, difference);
    }
  }
  return most;
}

TEST_P(Golden, LogProbabilitiesAreTheReferences) {
  const LoadedModel loaded = Load(CpuOps());
  Runner runner(*loaded.model, 1, context_);
  for (const GoldenCase& c : cases_) {
    runner.Restart();
    const Logits logits = runner.Sequence(c.Fed(), c.prompt.size(), c.prompt.size());
    EXPECT_LE(Difference(logits, c.Expected()), 1e-4);
    for (size_t i = 0; i < c.output.size();
         ++i) {  // so greedy decoding emits the reference's tokens
      const std::vector<float>& row = logits[c.prompt.size() - 1 + i];
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), c.output[i]);
    }
  }
}

TEST_P(Golden, EveryInstructionSetAgrees) {
  for (const char* name : {"scalar", "avx2", "avx512", "avx512_bf16"}) {
    const Ops* ops = CpuOpsFor(name);
    if (ops == nullptr) continue;
    const LoadedModel loaded = Load(*ops);
    Runner runner(*loaded.model, 1, context_);
    const GoldenCase& c = cases_.back();
    const Logits logits = runner.Sequence(c.Fed(), c.prompt.size(), c.prompt.size());
    EXPECT_LE(Difference(logits, c.Expected()), 1e-4) << name;
  }
}

TEST_P(Golden, ReferenceOperationsAgree) {
  const LoadedModel loaded = Load(ReferenceOps());
  Runner runner(*loaded.model, 1, context_);
  for (const GoldenCase& c : cases_) {
    runner.Restart();
    const Logits logits = runner.Sequence(c.Fed(), c.prompt.size(), c.prompt.size());
    EXPECT_LE(Difference(logits, c.Expected()), 1e-4);
  }
}

// Rounding weights, activations and the cache to 8 or 11 bits moves the log-probabilities by at
// most this share of their own standard deviation: on average, and anywhere.
struct Bounds {
  const char* dtype;
  DType type;
  double mean, most;
};
constexpr Bounds kBounds[] = {{"bf16", DType::kBF16, 0.04, 0.4}, {"f16", DType::kF16, 0.006, 0.06}};

double Deviation(const std::vector<std::vector<float>>& rows) {
  double sum = 0, squares = 0, count = 0;
  for (const auto& row : rows) {
    for (double x : row) sum += x, squares += x * x, ++count;
  }
  return std::sqrt(squares / count - sum / count * sum / count);
}

TEST_P(Golden, NarrowTypesStayNearF32) {
  for (const Bounds& bounds : kBounds) {
    SCOPED_TRACE(bounds.dtype);
    const LoadedModel loaded = Load(CpuOps(), bounds.dtype);
    EXPECT_EQ(loaded.model->info().dtype, bounds.type);
    Runner runner(*loaded.model, 1, context_);
    for (const GoldenCase& c : cases_) {
      runner.Restart();
      const Logits logits = runner.Sequence(c.Fed(), c.prompt.size(), c.prompt.size());
      const auto expected = c.Expected();
      double sum = 0, count = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        const std::vector<double> got = LogSoftmax(logits[i]);
        for (size_t j = 0; j < got.size(); ++j) sum += std::abs(got[j] - expected[i][j]), ++count;
      }
      EXPECT_LE(sum / count, bounds.mean * Deviation(expected));
      EXPECT_LE(Difference(logits, expected), bounds.most * Deviation(expected));
    }
  }
}

// Sequences of several lengths and phases share every step.
Logits AmongStrangers(Model& model, const std::vector<GoldenCase>& cases, size_t which) {
  Runner runner(model, 8, model.info().context_tokens);
  const std::vector<uint32_t> own = cases[which].Fed();
  std::vector<std::vector<uint32_t>> strangers;
  for (uint32_t s = 0; s < 7; ++s) {
    strangers.push_back(cases[s % cases.size()].Fed());
    for (uint32_t& id : strangers.back()) id = (id * 7 + s) % model.info().vocabulary_size;
  }
  std::vector<size_t> at(8, 0);
  Logits out;
  for (size_t step = 0; at[3] < own.size(); ++step) {
    std::vector<Part> parts;
    size_t before = 0, mine = 0;
    for (uint32_t slot = 0; slot < 8; ++slot) {
      const std::vector<uint32_t>& tokens = slot == 3 ? own : strangers[slot > 3 ? slot - 1 : slot];
      const size_t prompt = slot == 3 ? cases[which].prompt.size() : tokens.size();
      const size_t most = at[slot] < prompt ? prompt - at[slot] : 1;
      const size_t count = std::min({(slot + step) % 5 + 1, most, tokens.size() - at[slot]});
      if (count == 0) continue;
      if (slot < 3) before += count;
      if (slot == 3) mine = count;
      parts.push_back(
          {slot, std::span(tokens).subspan(at[slot], count), static_cast<uint32_t>(prompt)});
      at[slot] += count;
    }
    const Logits logits = runner.Step(parts);
    out.insert(out.end(), logits.begin() + before, logits.begin() + before + mine);
  }
  return out;
}

bool SameBits(const Logits& a, const Logits& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() ||
        std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

TEST_P(Golden, EveryWayOfRunningGivesTheSameBits) {
  for (const char* dtype : {"f32", "bf16", "f16"}) {
    const LoadedModel one = Load(CpuOps(), dtype), two = Load(CpuOps(), dtype, 2);
    Runner runner(*one.model, 1, context_), on_two(*two.model, 1, context_);
    for (size_t i = 0; i < cases_.size(); ++i) {
      const std::vector<uint32_t> tokens = cases_[i].Fed();
      const size_t prompt = cases_[i].prompt.size();
      const auto run = [&](Runner& r, size_t chunk) {
        r.Restart();
        return r.Sequence(tokens, prompt, chunk);
      };
      const Logits whole = run(runner, prompt);
      EXPECT_TRUE(SameBits(run(runner, 7), whole)) << dtype << " chunks of 7";
      EXPECT_TRUE(SameBits(run(runner, 1), whole)) << dtype << " token by token";
      EXPECT_TRUE(SameBits(run(on_two, prompt), whole)) << dtype << " two threads";
      EXPECT_TRUE(SameBits(run(on_two, 5), whole)) << dtype << " two threads, chunks of 5";
      EXPECT_TRUE(SameBits(AmongStrangers(*one.model, cases_, i), whole)) << dtype << " batched";
      EXPECT_TRUE(SameBits(AmongStrangers(*two.model, cases_, i), whole))
          << dtype << " batched, two threads";
    }
  }
}

// "gguf_of_NAME" has the weights of NAME in the other format: the same numbers, so the same bits.
TEST(Formats, GiveTheSameBits) {
  constexpr std::string_view kPrefix = "gguf_of_";
  int copies = 0;
  for (const std::string& name : GoldenNames()) {
    if (!name.starts_with(kPrefix)) continue;
    ++copies;
    const std::string original = GoldenCheckpoint(name.substr(kPrefix.size()));
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      const LoadedModel gguf = LoadModel(GoldenCheckpoint(name), CpuOps(), dtype);
      const LoadedModel safetensors = LoadModel(original, CpuOps(), dtype);
      Runner one(*gguf.model, 1, 128), other(*safetensors.model, 1, 128);
      for (const GoldenCase& c : ReadGolden(name)) {
        one.Restart(), other.Restart();
        EXPECT_TRUE(SameBits(one.Sequence(c.Fed(), c.prompt.size(), c.prompt.size()),
                             other.Sequence(c.Fed(), c.prompt.size(), c.prompt.size())))
            << name << " " << dtype;
      }
    }
  }
  EXPECT_GE(copies, 34);
}

// A copy of the checkpoint in which one file has other bytes.
class Copy {
 public:
  explicit Copy(const std::string& name) {
    folder_ = testing::TempDir() + "/golden_" + name;
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(GoldenFolder() + "/" + name, folder_);
  }
  ~Copy() { std::filesystem::remove_all(folder_); }
  std::string checkpoint() const {
    return std::filesystem::exists(folder_ + "/model.gguf") ? folder_ + "/model.gguf" : folder_;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("model") && !name.ends_with(".json"))
        out.push_back(entry.path().string());
    }
    return out;
  }

 private:
  std::string folder_;
};

struct Place {
  std::string name;
  size_t offset, size;
};

std::vector<Place> TensorPlaces(std::span<const std::byte> bytes, const std::string& file) {
  std::vector<Place> places;
  const auto add = [&](std::string name, std::span<const std::byte> data) {
    places.push_back(
        {std::move(name), static_cast<size_t>(data.data() - bytes.data()), data.size()});
  };
  if (file.ends_with(".gguf")) {
    auto gguf = GgufFile::Parse(bytes, file);
    EXPECT_TRUE(gguf.ok()) << gguf.status();
    for (const GgufTensor& t : (*gguf)->tensors()) add(std::string(t.name), t.data);
  } else {
    auto safetensors = SafetensorsCheckpoint::Parse(bytes, file);
    EXPECT_TRUE(safetensors.ok()) << safetensors.status();
    for (const SafetensorsTensor& t : (*safetensors)->tensors()) add(t.name, t.data);
  }
  return places;
}

void Write(const std::string& file, const std::vector<char>& bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
}

// Weights beside the language model.
bool IsForImages(const std::string& name) {
  return name.find("vision_tower.") != std::string::npos ||
         name.find("multi_modal_projector.") != std::string::npos;
}

TEST_P(Golden, EveryParameterMatters) {
  // Of the second and the third prompt, the larger: some parameters are for long sequences alone.
  const auto difference = [&](const std::string& path) {
    const LoadedModel loaded = LoadModel(path, CpuOps(), "f32", 1, context_);
    Runner runner(*loaded.model, 1, context_);
    double most = 0;
    for (const GoldenCase& c : {cases_[1], cases_[2]}) {
      runner.Restart();
      const double own =
          Difference(runner.Sequence(c.prompt, c.prompt.size(), c.prompt.size()), c.logprobs);
      most = Larger(most, own);
    }
    return most;
  };
  const Copy copy(GetParam());
  for (const std::string& file : copy.files()) {
    std::vector<char> bytes(std::filesystem::file_size(file));
    std::ifstream(file, std::ios::binary).read(bytes.data(), static_cast<int64_t>(bytes.size()));
    for (const Place& place : TensorPlaces(std::as_bytes(std::span(bytes)), file)) {
      if (IsForImages(place.name)) continue;
      std::vector<char> zeroed = bytes;
      // Divisors and factors of 0 are refused; these bytes are 3 in f32.
      const char byte = place.name.starts_with("rope_f") ? 0x40 : 0;
      std::fill_n(zeroed.begin() + place.offset, place.size, byte);
      Write(file, zeroed);
      EXPECT_FALSE(difference(copy.checkpoint()) < 1e-3) << place.name << " does not matter";
    }
    Write(file, bytes);
  }
  EXPECT_LE(difference(copy.checkpoint()), 1e-4);  // as before
}

INSTANTIATE_TEST_SUITE_P(All, Golden, testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace shardline
