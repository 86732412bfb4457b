// Checks a spec before anything is planned from it.
#include <algorithm>
#include <cmath>

#include "worker/models/spec.h"

namespace shardline {
namespace {

bool AllPositive(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value) && value > 0; });
}

// Adding it to a mean of squares must leave a positive number.
absl::Status ValidateNorm(const NormSpec& norm) {
  const double eps = norm.norm.eps;
  if (std::isfinite(eps) && eps >= 0) return absl::OkStatus();
  return InvalidArgument(norm.centred ? "layer_norm_eps (layer_norm_epsilon) "
                                      : "rms_norm_eps (layer_norm_rms_epsilon) ",
                         eps, " is negative");
}

absl::Status ValidateRope(const Rope& rope, int64_t head_dim) {
  if (rope == Rope{.rot_dim = 0}) return absl::OkStatus();  // nothing rotates
  if (rope.rot_dim < 2 || rope.rot_dim % 2 != 0 || rope.rot_dim > head_dim) {
    return InvalidArgument("rotary dimensions ", rope.rot_dim, " of head_dim ", head_dim,
                           " are not an even number of at most that size");
  }
  const auto half = static_cast<size_t>(rope.rot_dim / 2);
  if (!(rope.theta > 0)) {
    return InvalidArgument("rope_theta (rope.freq_base) ", rope.theta, " is not positive");
  }
  if (!rope.divisors.empty() && rope.divisors.size() != half) {
    return InvalidArgument("rope_freqs has ", rope.divisors.size(), " entries, not ", half);
  }
  if (!AllPositive(rope.divisors)) {
    return InvalidArgument("rope_freqs holds what is no positive number");
  }
  if (const auto* longrope = std::get_if<LongropeScaling>(&rope.scaling)) {
    if (longrope->short_factors.size() != half || longrope->long_factors.size() != half) {
      return InvalidArgument("short_factor and long_factor have ", longrope->short_factors.size(),
                             " and ", longrope->long_factors.size(), " entries, not ", half);
    }
    if (!std::isfinite(longrope->attention_factor)) {
      return InvalidArgument("the attention factor of longrope is not finite");
    }
    if (!AllPositive(longrope->short_factors) || !AllPositive(longrope->long_factors)) {
      return InvalidArgument("short_factor or long_factor holds what is no positive number");
    }
  }
  if (std::holds_alternative<DynamicScaling>(rope.scaling) && rope.rot_dim <= 2) {
    return InvalidArgument("rope_type dynamic needs more than 2 rotary dimensions");
  }
  return absl::OkStatus();
}

absl::Status ValidateMixer(const Attention& attention) {
  constexpr int64_t kMostNormedHeads = 512;  // each is a tensor of its own
  if (attention.norm_per_head && attention.heads > kMostNormedHeads) {
    return InvalidArgument(attention.heads, " heads with norms of their own exceed ",
                           kMostNormedHeads);
  }
  if (attention.head_dim < 1) return InvalidArgument("heads have no dimensions");
  if (attention.heads % attention.kv_heads != 0) {
    return InvalidArgument(attention.heads, " attention heads are not a multiple of ",
                           attention.kv_heads, " key-value heads");
  }
  return ValidateRope(attention.rope, attention.head_dim);
}

absl::Status ValidateMoe(const Moe& moe) {
  const Routing& routing = moe.router.routing;
  if (moe.experts < 1) return InvalidArgument("a mixture of no experts");
  if (moe.active < 1 || moe.active > moe.experts) {
    return InvalidArgument("num_experts_per_tok (expert_used_count) ", moe.active, " of ",
                           moe.experts, " experts");
  }
  if (routing.groups < 1 || routing.groups > kMostExpertGroups ||
      moe.experts % routing.groups != 0) {
    return InvalidArgument("n_group (expert_group_count) ", routing.groups, " does not divide ",
                           moe.experts, " experts or exceeds ", kMostExpertGroups);
  }
  const int64_t size = moe.experts / routing.groups;
  if (routing.active_groups < 1 || routing.active_groups > routing.groups) {
    return InvalidArgument("topk_group (expert_group_used_count) ", routing.active_groups, " of ",
                           routing.groups, " groups");
  }
  if (routing.active_groups * size < moe.active) {
    return InvalidArgument("num_experts_per_tok (expert_used_count) ", moe.active, " of ",
                           routing.active_groups, " groups (topk_group) of ", size, " experts");
  }
  if (routing.group_score == GroupScore::kSumOfTwoLargest && size < 2) {
    return InvalidArgument("n_group (expert_group_count) ", routing.groups,
                           " makes groups of one expert, whose two best do not exist");
  }
  if (!std::isfinite(routing.scale)) {
    return InvalidArgument("routed_scaling_factor (expert_weights_scale) is not finite");
  }
  return absl::OkStatus();
}

absl::Status ValidateMixer(const LatentAttention& attention) {
  SL_RETURN_IF_ERROR(ValidateNorm(attention.latent_norm));
  constexpr int64_t kMostLatentHeads = 512;  // each has two matrices of its own
  if (attention.heads > kMostLatentHeads) {
    return InvalidArgument(attention.heads, " heads over a latent exceed ", kMostLatentHeads);
  }
  if (attention.rope.rot_dim == 0) {
    return InvalidArgument("qk_rope_head_dim (rope.dimension_count) is 0");
  }
  return ValidateRope(attention.rope, attention.rope.rot_dim);
}

absl::Status ValidateMixer(const Mamba& mamba) {
  const bool ok = !mamba.part_norm || (std::isfinite(*mamba.part_norm) && *mamba.part_norm >= 0);
  return ok ? absl::OkStatus()
            : InvalidArgument("mixer_rms_eps ", *mamba.part_norm, " is negative");
}

}  // namespace

absl::Status ValidateSpec(const ModelSpec& spec, const std::string& file) {
  SL_RETURN_IF_ERROR(Annotate(ValidateNorm(spec.final_norm), file));
  for (const Block& block : spec.blocks) {
    const absl::Status status =
        std::visit([](const auto& mixer) { return ValidateMixer(mixer); }, block.mixer);
    if (!status.ok()) return Annotate(status, file);
    if (const auto* moe = std::get_if<Moe>(&block.ffn)) {
      SL_RETURN_IF_ERROR(Annotate(ValidateMoe(*moe), file));
    }
  }
  return absl::OkStatus();
}

}  // namespace shardline
