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
// Factors that some checkpoints state for engines that multiply by them. transformers warns of both
// and leaves them out, which is no other rope where they are one. DeepSeek-R1-0528-Qwen3-8B's
// attn_factor undoes YaRN's magnitude, so with YaRN it is read as those engines and llama.cpp do.
constexpr std::string_view kAttnFactor = "attn_factor";
constexpr std::string_view kExtrapolationFactor = "extrapolation_factor";

constexpr int64_t kMostPositions = int64_t{1} << 31;
constexpr double kLeastTheta = 1, kMostTheta = 1e15;

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
    Rope rope{.theta = Theta(keys_.theta_key, keys_.theta), .rot_dim = head_dim};
    rope.theta = Theta(Key("rope_theta"), rope.theta);
    const std::string type = Type();
    for (const std::string& key : config_.Keys(object_)) {
      if (!Understands(key, type)) config_.Refuse(Key(key), "is not understood");
    }
    rope.rot_dim = RotatedDims(type, head_dim);
    if (type == "default") return rope;
    if (type == "linear") {
      rope.scaling = LinearScaling{Factor("factor")};
    } else if (type == "dynamic") {
      rope.scaling = DynamicScaling{Factor("factor"), max_positions_};
    } else if (type == "yarn") {
      rope.scaling = Yarn();
    } else if (type == "longrope") {
      rope.scaling = Longrope();
    } else if (type == "llama3") {
      rope.scaling = Llama3Scaling{.factor = Factor("factor"),
                                   .low_freq_factor = Factor("low_freq_factor"),
                                   .high_freq_factor = Factor("high_freq_factor"),
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

  bool Understands(const std::string& key, const std::string& type) {
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end()) return true;
    if (key == kAttnFactor && type == "yarn") return true;
    return (key == kAttnFactor || key == kExtrapolationFactor) && config_.Float(Key(key), 1) == 1;
  }

  std::string Type() {
    std::string type = config_.String(Key("rope_type"), config_.String(Key("type"), "default"));
    if (!keys_.only_longrope || type == "default") return type;
    if (type != "longrope" && type != "su" && type != "yarn") {
      config_.Refuse(Key("rope_type"), Cat("'", type, "' is not one of default and longrope"));
    }
    return "longrope";
  }

  // Llama's default rope does not read the key, and its other ropes cannot rotate a part of a head.
  int64_t RotatedDims(const std::string& type, int64_t head_dim) {
    // A key that is null is not the class's default: the reference then rotates whole heads.
    const bool whole = keys_.partial == 0 || config_.IsNull("partial_rotary_factor");
    const double fallback = whole ? 1.0 : keys_.partial;
    const double top = config_.Float("partial_rotary_factor", fallback);
    const double factor = config_.Float(Key("partial_rotary_factor"), top);
    if (keys_.partial > 0) {
      if (factor > 0 && factor <= 1) {
        return static_cast<int64_t>(static_cast<double>(head_dim) * factor);
      }
      config_.Refuse("partial_rotary_factor", Cat(factor, " is not within 0..1"));
    } else if (factor != 1.0 && type != "default") {
      config_.Refuse("partial_rotary_factor", Cat(factor, " with rope_type ", type,
                                                  " is not served: heads rotate as a whole"));
    }
    return head_dim;
  }

  double Theta(std::string_view key, double fallback) {
    return config_.Float(key, kLeastTheta, kMostTheta, fallback);
  }
  double Factor(std::string_view name) {
    return config_.Float(Key(name), kLeastFactor, kMostFactor);
  }
  double Factor(std::string_view name, double fallback) {
    return config_.Float(Key(name), kLeastFactor, kMostFactor, fallback);
  }

  // The top level's key wins, as in transformers; the model's own context stands in for both.
  double OriginalPositions() {
    const int64_t inner = keys_.original_positions > 0
                              ? keys_.original_positions
                              : config_.Int(Key("original_max_position_embeddings"), 1,
                                            kMostPositions, max_positions_);
    return static_cast<double>(
        config_.Int("original_max_position_embeddings", 1, kMostPositions, inner));
  }

  YarnScaling Yarn() {
    YarnScaling yarn{.original_positions = OriginalPositions()};
    yarn.factor = Factor("factor", static_cast<double>(max_positions_) / yarn.original_positions);
    const double mscale = config_.Float(Key("mscale"), 0, kMostFactor, 0);
    const double mscale_all = config_.Float(Key("mscale_all_dim"), 0, kMostFactor, 0);
    const double magnitude =
        mscale != 0 && mscale_all != 0
            ? YarnMagnitude(yarn.factor, mscale) / YarnMagnitude(yarn.factor, mscale_all)
            : YarnMagnitude(yarn.factor, 1.0);
    yarn.attention_factor = Factor("attention_factor", magnitude * Factor(kAttnFactor, 1));
    const double fast = config_.Float(Key("beta_fast"), 0, kMostFactor, 0);
    const double slow = config_.Float(Key("beta_slow"), 0, kMostFactor, 0);
    if (fast != 0) yarn.beta_fast = fast;
    if (slow != 0) yarn.beta_slow = slow;
    yarn.truncate = config_.Bool(Key("truncate"), true);
    return yarn;
  }

  LongropeScaling Longrope() {
    LongropeScaling longrope{.short_factors = Narrow(config_.Floats(Key("short_factor"))),
                             .long_factors = Narrow(config_.Floats(Key("long_factor"))),
                             .original_positions = OriginalPositions()};
    const double factor =
        Factor("factor", static_cast<double>(max_positions_) / longrope.original_positions);
    const double magnitude =
        factor <= 1.0 ? 1.0
                      : std::sqrt(1 + std::log(factor) / std::log(longrope.original_positions));
    longrope.attention_factor = Factor("attention_factor", magnitude);
    return longrope;
  }

  HfConfig& config_;
  int64_t max_positions_;
  const HfRopeKeys& keys_;
  std::string object_;
};

// A vector of plain numbers; empty where there is none.
std::vector<float> Vector(GgufConfig& config, const Checkpoint& checkpoint, std::string_view name) {
  const StoredTensor* tensor = checkpoint.Find(name);
  if (tensor == nullptr) return {};
  if (tensor->type == StoredType::kOther || tensor->shape.size() != 1 ||
      tensor->elements() > (1 << 16)) {
    config.Refuse(name, "is not a vector of plain numbers");
    return {};
  }
  std::vector<float> values(tensor->elements());
  Dequantize(tensor->type, tensor->data.data(), tensor->elements(), DType::kF32, values.data());
  return values;
}

double Factor(GgufConfig& config, std::string_view key, double fallback) {
  return config.Float(key, kLeastFactor, kMostFactor, fallback);
}

double OriginalPositions(GgufConfig& config, int64_t max_positions) {
  return static_cast<double>(
      config.Int("*.rope.scaling.original_context_length", 1, kMostPositions, max_positions));
}

// The kind that shows in its tensors, whatever scaling type the file states beside them.
bool ReadLongrope(GgufConfig& config, const Checkpoint& checkpoint, int64_t max_positions,
                  Rope& rope) {
  LongropeScaling longrope{.short_factors = Vector(config, checkpoint, "rope_factors_short.weight"),
                           .long_factors = Vector(config, checkpoint, "rope_factors_long.weight"),
                           .original_positions = OriginalPositions(config, max_positions),
                           .attention_factor = Factor(config, "*.rope.scaling.attn_factor", 1)};
  if (longrope.short_factors.empty() && longrope.long_factors.empty()) return false;
  rope.scaling = std::move(longrope);
  return true;
}

}  // namespace

Rope RopeFromHf(HfConfig& config, int64_t head_dim, int64_t max_positions, const HfRopeKeys& keys) {
  return HfRope(config, max_positions, keys).Read(head_dim);
}

Rope RopeFromGguf(GgufConfig& config, const Checkpoint& checkpoint, int64_t head_dim,
                  int64_t max_positions, bool partial) {
  Rope rope{.theta = config.Float("*.rope.freq_base", kLeastTheta, kMostTheta, 10000),
            .rot_dim = head_dim};
  rope.divisors = Vector(config, checkpoint, "rope_freqs.weight");
  const int64_t rotated = config.Int("*.rope.dimension_count", 1, 1 << 16, head_dim);
  if (partial) {
    rope.rot_dim = rotated;
  } else if (rotated != head_dim) {
    config.Refuse("*.rope.dimension_count", Cat(rotated, " is not the head size ", head_dim));
  }
  if (ReadLongrope(config, checkpoint, max_positions, rope)) return rope;
  const double scale_linear =  // of files of 2023
      config.Float("*.rope.scale_linear", 0, kMostFactor, 1);
  const double factor = config.Float("*.rope.scaling.factor", 0, kMostFactor, scale_linear);
  const std::string type =  // llama.cpp's default, too, is that a factor alone is linear
      config.String("*.rope.scaling.type", factor != 1.0 ? "linear" : "none");
  constexpr std::string_view kMagnitude = "*.rope.scaling.attn_factor";
  const double magnitude = Factor(config, kMagnitude, 1);
  if (type != "yarn" && magnitude != 1) {
    config.Refuse(kMagnitude, Cat(magnitude, " is served with yarn and longrope alone"));
  }
  if (type == "none" || factor == 0) return rope;
  if (type == "linear") {
    rope.scaling = LinearScaling{factor};
  } else if (type == "yarn") {
    YarnScaling yarn{.factor = factor,
                     .original_positions = OriginalPositions(config, max_positions),
                     .beta_fast = Factor(config, "*.rope.scaling.yarn_beta_fast", 32),
                     .beta_slow = Factor(config, "*.rope.scaling.yarn_beta_slow", 1)};
    // The configuration's attention_factor, which stands for the magnitude that yarn would have.
    yarn.attention_factor =
        magnitude * Factor(config, "*.rope.scaling.yarn_attn_factor", YarnMagnitude(factor, 1.0));
    rope.scaling = yarn;
  } else {
    config.Refuse("*.rope.scaling.type", Cat("'", type, "' is not one of none, linear and yarn"));
  }
  return rope;
}

}  // namespace shardline
