// Latent attention over its latents alone gives what attention with every head's keys and values
// written out gives.
#include "worker/layers/latent_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

namespace shardline {
namespace {

using Row = std::vector<double>;

constexpr int64_t kHidden = 20, kTokens = 37, kFirst = 18;

// Random weights for all slots of a plan, kept by "NAME" or "NAME.HEAD".
class Weights {
 public:
  explicit Weights(const WeightPlan& plan) {
    for (const MatrixTarget& target : plan.matrices) {
      const WeightSlot& slot = target.parts.at(0);
      std::vector<float>& values = Draw(slot, target.rows() * target.cols(), 0);
      memory_.emplace_back(
          CpuOps().packed_bytes(DType::kF32, target.rows(), target.cols()) / sizeof(float) + 16);
      const auto address = reinterpret_cast<uintptr_t>(memory_.back().data());
      CpuOps().pack(View::Contiguous(values.data(), DType::kF32, {target.rows(), target.cols()}),
                    DType::kF32, reinterpret_cast<void*>((address + 63) / 64 * 64), target.packed);
    }
    for (const VectorTarget& target : plan.vectors) {
      std::vector<float>& values = Draw(target.parts.at(0), target.size(), 1);
      *target.view = View::Contiguous(values.data(), DType::kF32, {target.size()});
    }
  }

  // w · x + bias, where there is one.
  Row Product(const std::string& name, const Row& x) const {
    const std::vector<float>& w = values_.at(name + ".weight");
    const auto bias = values_.find(name + ".bias");
    Row y(w.size() / x.size());
    for (size_t i = 0; i < y.size(); ++i) {
      if (bias != values_.end()) y[i] = bias->second[i];
      for (size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    }
    return y;
  }
  Row Normed(const std::string& name, Row x, double eps) const {
    double square = 0;
    for (const double v : x) square += v * v / static_cast<double>(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] *= values_.at(name + ".weight")[i] / std::sqrt(square + eps);
    }
    return x;
  }
  // Column `column` of a head's matrix with `cols` columns.
  double At(const std::string& name, int64_t head, int64_t row, int64_t cols,
            int64_t column) const {
    return values_.at(Cat(name, ".weight.", head))[row * cols + column];
  }

 private:
  std::vector<float>& Draw(const WeightSlot& slot, int64_t count, float mean) {
    std::normal_distribution<float> normal(mean, 0.4f);
    const bool of_head = slot.expert.count > 0;
    auto& values = values_[of_head ? Cat(slot.name, ".", slot.expert.index) : slot.name];
    for (int64_t i = 0; i < count; ++i) values.push_back(normal(random_));
    return values;
  }

  std::mt19937 random_{7};
  std::map<std::string, std::vector<float>> values_;
  std::vector<std::vector<float>> memory_;
};

double Angle(int64_t position, int64_t pair) {
  return static_cast<double>(position) / static_cast<double>(1 + 3 * pair);
}

// Pairs of neighbours from `first` on.
void Rotate(Row& x, size_t first, int64_t position) {
  for (size_t i = first; i < x.size(); i += 2) {
    const double angle = Angle(position, static_cast<int64_t>(i - first) / 2);
    const double a = x[i], b = x[i + 1];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + 1] = b * std::cos(angle) + a * std::sin(angle);
  }
}

// The outputs of all tokens with every head's own keys and values.
std::vector<Row> Expanded(const LatentAttention& spec, const Weights& w,
                          const std::vector<Row>& inputs) {
  const double eps = spec.latent_norm.norm.eps;
  const int64_t dim = spec.nope_dim + spec.rope.rot_dim;
  std::vector<Row> latents, rotated, outputs;
  for (size_t t = 0; t < inputs.size(); ++t) {
    const Row kv = w.Product("kv_a", inputs[t]);
    latents.push_back(w.Normed("kv_norm", Row(kv.begin(), kv.begin() + spec.kv_rank), eps));
    rotated.emplace_back(kv.begin() + spec.kv_rank, kv.end());
    Rotate(rotated.back(), 0, static_cast<int64_t>(t));
  }
  for (size_t t = 0; t < inputs.size(); ++t) {
    const Row q = spec.q_rank > 0
                      ? w.Product("q_b", w.Normed("q_norm", w.Product("q_a", inputs[t]), eps))
                      : w.Product("q", inputs[t]);
    Row seen;
    for (int64_t h = 0; h < spec.heads; ++h) {
      Row query(q.begin() + h * dim, q.begin() + (h + 1) * dim), weights;
      Rotate(query, spec.nope_dim, static_cast<int64_t>(t));
      double sum = 0;
      for (size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (int64_t i = 0; i < spec.nope_dim; ++i) {
          double key = 0;
          for (int64_t r = 0; r < spec.kv_rank; ++r) {
            key += w.At("k_b", h, r, spec.nope_dim, i) * latents[s][r];
          }
          score += query[i] * key;
        }
        for (int64_t i = 0; i < spec.rope.rot_dim; ++i) {
          score += query[spec.nope_dim + i] * rotated[s][i];
        }
        weights.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
        sum += weights.back();
      }
      for (int64_t v = 0; v < spec.value_dim; ++v) {
        double value = 0;
        for (size_t s = 0; s <= t; ++s) {
          for (int64_t r = 0; r < spec.kv_rank; ++r) {
            value += weights[s] / sum * w.At("v_b", h, v, spec.kv_rank, r) * latents[s][r];
          }
        }
        seen.push_back(value);
      }
    }
    outputs.push_back(w.Product("o", seen));
  }
  return outputs;
}

// Runs tokens [first, first + count) of one sequence.
class Sequence {
 public:
  Sequence(LatentAttentionLayer& layer, const LatentAttention& spec) : layer_(layer) {
    StateGroup group = *layer.state(DType::kF32);
    EXPECT_EQ(group.block_bytes(),
              size_t{kBlockTokens} * (spec.kv_rank + spec.rope.rot_dim) * sizeof(float));
    auto storage = StateStorage::Create({group}, {4}, 1, 4 * kBlockTokens);
    EXPECT_TRUE(storage.ok()) << storage.status();
    storage_ = *std::move(storage);
    const int32_t order[] = {2, 0, 3};
    for (uint32_t i = 0; i < 3; ++i) {
      storage_->Apply({{.slot = 0, .group = 0, .index = i, .block = order[i]}});
    }
    for (int64_t t = 0; t < kTokens; ++t) {
      slots_.push_back(order[t / kBlockTokens] * kBlockTokens + t % kBlockTokens);
      for (int64_t i = 0; i < spec.rope.rot_dim / 2; ++i) {
        cos_.push_back(static_cast<float>(std::cos(Angle(t, i))));
        sin_.push_back(static_cast<float>(std::sin(Angle(t, i))));
      }
    }
    half_ = spec.rope.rot_dim / 2;
  }

  void Run(int64_t first, int64_t count, std::vector<float>& x, std::vector<float>& y) {
    const auto part = [&](std::vector<float>& all, int64_t width) {
      return View::Contiguous(all.data() + first * width, DType::kF32, {count, width});
    };
    GroupStep group{.slots = View::Contiguous(slots_.data() + first, DType::kI64, {count})};
    group.rows.push_back({.first_token = 0,
                          .token_count = static_cast<int32_t>(count),
                          .first_position = static_cast<int32_t>(first),
                          .blocks = storage_->blocks(0, 0)});
    const RopeStep rope{part(cos_, half_), part(sin_, half_)};
    const std::unique_ptr<ProcessGroup> alone = SingleProcess();
    Workspace measure;
    layer_.Plan(measure, DType::kF32, count);
    std::vector<std::byte> memory(measure.used());
    const StepContext step{.ops = &CpuOps(),
                           .group = alone.get(),
                           .state = storage_.get(),
                           .tokens = count,
                           .groups = {&group, 1},
                           .ropes = {&rope, 1}};
    EXPECT_TRUE(layer_
                    .Forward(step, Workspace(memory.data(), memory.size()), part(x, kHidden),
                             part(y, kHidden))
                    .ok());
  }

 private:
  LatentAttentionLayer& layer_;
  std::unique_ptr<StateStorage> storage_;
  std::vector<int64_t> slots_;
  std::vector<float> cos_, sin_;
  int64_t half_;
};

TEST(LatentAttention, EqualsAttentionWithKeysAndValuesOfEveryHead) {
  for (const int64_t q_rank : {0, 11}) {
    const LatentAttention spec{.heads = 3,
                               .q_rank = q_rank,
                               .kv_rank = 13,
                               .nope_dim = 5,
                               .value_dim = 7,
                               .bias = true,
                               .latent_norm = {.norm = {1e-6f}},
                               .rope = {.rot_dim = 4, .style = RopeStyle::kInterleaved}};
    LatentAttentionLayer layer(spec, kHidden, 0);
    WeightPlan plan;
    layer.Declare("", plan);
    for (MatrixTarget& target : plan.matrices) target.parts[0].name.erase(0, 1);
    for (VectorTarget& target : plan.vectors) target.parts[0].name.erase(0, 1);
    const Weights weights(plan);

    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> x(kTokens * kHidden), y(x.size()), chunks(x.size());
    for (float& value : x) value = normal(random);
    std::vector<Row> inputs;
    for (int64_t t = 0; t < kTokens; ++t) {
      inputs.emplace_back(x.begin() + t * kHidden, x.begin() + (t + 1) * kHidden);
    }
    const std::vector<Row> expected = Expanded(spec, weights, inputs);
    Sequence(layer, spec).Run(0, kTokens, x, y);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < kHidden; ++i) {
        ASSERT_NEAR(y[t * kHidden + i], expected[t][i], 2e-5) << "token " << t << ", " << i;
      }
    }
    Sequence in_two(layer, spec);
    in_two.Run(0, kFirst, x, chunks);
    in_two.Run(kFirst, kTokens - kFirst, x, chunks);
    EXPECT_EQ(chunks, y) << "q_rank " << q_rank;
  }
}

}  // namespace
}  // namespace shardline
