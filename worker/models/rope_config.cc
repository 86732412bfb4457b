// Both generations of rope configuration, and GGUF's.
#include "worker/models/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace shardline {
namespace {

// Every key that some rope type reads. Any other might change the arithmetic.
constexpr std::array kKnownKeys = {"rope_type",
                                   "type",
                                   "rope_theta",
                                   "factor",
                                   "attention_factor",
                                   "beta_fast",
                                   "beta_slow",
                                   "mscale",
                                   "mscale_all_dim",
                                   "truncate",
                                   "short_factor",
                                   "long_factor",
                                   "low_freq_factor",
                                   "finetuned",
                                   "high_freq_factor",
                                   "original_max_position_embeddings",
                                   "partial_rotary_factor"};

constexpr int64_t kMostPositions = int64_t{1} << 31;

std::vector<float> Narrow(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

// Reads one rope object: "rope_parameters" or "rope_scaling".
class HfRope {
 public:
  HfRope(HfConfig& config, int64_t max_positions, const HfRopeKeys& keys)
      : config_(config), max_positions_(max_positions), keys_(keys), object_(keys.object) {
    if (!object_.empty()) return;
    object_ = config.Keys("rope_scaling").empty() ? "rope_parameters" : "rope_scaling";
  }

  Rope Read(int64_t head_dim) {
    for (const std::string& key : config_.Keys(object_)) {
      if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end()) {
        config_.Refuse(Cat(object_, ".", key), "is not understood");
      }
    }
    Rope rope{.theta = config_.Float(keys_.theta_key, keys_.theta), .rot_dim = head_dim};
    rope.rot_dim = RotatedPart(head_dim);
    rope.theta = config_.Float(Key("rope_theta"), rope.theta);
    const std::string type =
        config_.String(Key("rope_type"), config_.String(Key("type"), "default"));
    if (keys_.partial == 0) CheckPartial(type);
    if (type == "default") return rope;
    if (type == "linear") {
      rope.scaling = LinearScaling{Factor()};
    } else if (type == "dynamic") {
      rope.scaling = DynamicScaling{Factor(), max_positions_};
    } else if (type == "yarn") {
      rope.scaling = Yarn();
    } else if (type == "longrope") {
      rope.scaling = Longrope();
    } else if (type == "llama3") {
      rope.scaling = Llama3Scaling{.factor = Factor(),
                                   .low_freq_factor = config_.Float(Key("low_freq_factor")),
                                   .high_freq_factor = config_.Float(Key("high_freq_factor")),
                                   .original_positions = OriginalPositions()};
    } else {
      config_.Refuse(Key("rope_type"), Cat("'", type,
                                           "' is not one of default, linear, dynamic, "
                                           "yarn, longrope and llama3"));
    }
    return rope;
  }

 private:
  std::string Key(std::string_view name) const { return Cat(object_, ".", name); }

  int64_t RotatedPart(int64_t head_dim) {
    if (keys_.partial == 0) return head_dim;
    const double top = config_.Float("partial_rotary_factor", keys_.partial);
    const double factor = config_.Float(Key("partial_rotary_factor"), top);
    if (!(factor > 0 && factor <= 1)) {
      config_.Refuse("partial_rotary_factor", Cat(factor, " is outside 0..1"));
      return head_dim;
    }
    return static_cast<int64_t>(static_cast<double>(head_dim) * factor);
  }

  // Llama's default rope does not read the key, and its other ropes cannot rotate a part of a head.
  void CheckPartial(const std::string& type) {
    const double top = config_.Float("partial_rotary_factor", 1.0);
    const double factor = config_.Float(Key("partial_rotary_factor"), top);
    if (factor != 1.0 && type != "default") {
      config_.Refuse("partial_rotary_factor", Cat(factor, " with rope_type ", type,
                                                  " is not served: heads rotate as a whole"));
    }
  }

  double Factor() {
    const double factor = config_.Float(Key("factor"));
    if (factor <= 0) config_.Refuse(Key("factor"), "is not positive");
    return factor;
  }

  // The top level's key wins, as in transformers; the model's own context stands in for both.
  double OriginalPositions() {
    const int64_t inner =
        config_.Int(Key("original_max_position_embeddings"), 1, kMostPositions, max_positions_);
    return static_cast<double>(
        config_.Int("original_max_position_embeddings", 1, kMostPositions, inner));
  }

  YarnScaling Yarn() {
    YarnScaling yarn{.original_positions = OriginalPositions()};
    yarn.factor =
        config_.Float(Key("factor"), static_cast<double>(max_positions_) / yarn.original_positions);
    const double mscale = config_.Float(Key("mscale"), 0.0);
    const double mscale_all = config_.Float(Key("mscale_all_dim"), 0.0);
    const double magnitude =
        mscale != 0 && mscale_all != 0
            ? YarnMagnitude(yarn.factor, mscale) / YarnMagnitude(yarn.factor, mscale_all)
            : YarnMagnitude(yarn.factor, 1.0);
    yarn.attention_factor = config_.Float(Key("attention_factor"), magnitude);
    const double fast = config_.Float(Key("beta_fast"), 0.0);
    const double slow = config_.Float(Key("beta_slow"), 0.0);
    if (fast != 0) yarn.beta_fast = fast;
    if (slow != 0) yarn.beta_slow = slow;
    yarn.truncate = config_.Bool(Key("truncate"), true);
    if (yarn.factor <= 0) config_.Refuse(Key("factor"), "is not positive");
    return yarn;
  }

  LongropeScaling Longrope() {
    LongropeScaling longrope{.short_factors = Narrow(config_.Floats(Key("short_factor"))),
                             .long_factors = Narrow(config_.Floats(Key("long_factor"))),
                             .original_positions = OriginalPositions()};
    const double factor = config_.Float(
        Key("factor"), static_cast<double>(max_positions_) / longrope.original_positions);
    const double magnitude =
        factor <= 1.0 ? 1.0
                      : std::sqrt(1 + std::log(factor) / std::log(longrope.original_positions));
    longrope.attention_factor = config_.Float(Key("attention_factor"), magnitude);
    return longrope;
  }

  HfConfig& config_;
  int64_t max_positions_;
  const HfRopeKeys& keys_;
  std::string object_;
};

std::vector<float> RopeDivisors(GgufConfig& config, const Checkpoint& checkpoint) {
  const StoredTensor* tensor = checkpoint.Find("rope_freqs.weight");
  if (tensor == nullptr) return {};
  if (tensor->type == StoredType::kOther || tensor->shape.size() != 1 ||
      tensor->elements() > (1 << 16)) {
    config.Refuse("rope_freqs.weight", "is not a vector of plain numbers");
    return {};
  }
  std::vector<float> divisors(tensor->elements());
  Dequantize(tensor->type, tensor->data.data(), tensor->elements(), DType::kF32, divisors.data());
  return divisors;
}

}  // namespace

Rope RopeFromHf(HfConfig& config, int64_t head_dim, int64_t max_positions, const HfRopeKeys& keys) {
  return HfRope(config, max_positions, keys).Read(head_dim);
}

Rope RopeFromGguf(GgufConfig& config, const Checkpoint& checkpoint, int64_t head_dim,
                  int64_t max_positions, bool partial) {
  Rope rope{.theta = config.Float("*.rope.freq_base", 10000.0), .rot_dim = head_dim};
  rope.divisors = RopeDivisors(config, checkpoint);
  const int64_t rotated = config.Int("*.rope.dimension_count", 1, 1 << 16, head_dim);
  if (partial) {
    rope.rot_dim = rotated;
  } else if (rotated != head_dim) {
    config.Refuse("*.rope.dimension_count", Cat(rotated, " is not the head size ", head_dim));
  }
  const double scale_linear = config.Float("*.rope.scale_linear", 1.0);  // files of 2023
  const std::string type =
      config.String("*.rope.scaling.type", scale_linear != 1.0 ? "linear" : "none");
  const double factor = config.Float("*.rope.scaling.factor", scale_linear);
  if (factor < 0) config.Refuse("*.rope.scaling.factor", "is negative");
  if (type == "none" || factor == 0) return rope;
  if (type == "linear") {
    rope.scaling = LinearScaling{factor};
  } else if (type == "yarn") {
    YarnScaling yarn{
        .factor = factor,
        .original_positions = static_cast<double>(
            config.Int("*.rope.scaling.original_context_length", 1, kMostPositions, max_positions)),
        .beta_fast = config.Float("*.rope.scaling.yarn_beta_fast", 32.0),
        .beta_slow = config.Float("*.rope.scaling.yarn_beta_slow", 1.0)};
    yarn.attention_factor = YarnMagnitude(factor, 1.0) *
                            config.Float("*.rope.scaling.attn_factor", 1.0) *
                            config.Float("*.rope.scaling.yarn_attn_factor", 1.0);
    rope.scaling = yarn;
  } else {
    config.Refuse("*.rope.scaling.type", Cat("'", type, "' is not one of none, linear and yarn"));
  }
  return rope;
}

}  // namespace shardline
