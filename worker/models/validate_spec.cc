// Checks a spec before anything is planned from it.
#include <cmath>

#include "worker/models/spec.h"

namespace shardline {
namespace {

absl::Status ValidateRope(const Rope& rope, int64_t head_dim) {
  if (rope.rot_dim < 2 || rope.rot_dim % 2 != 0 || rope.rot_dim > head_dim) {
    return InvalidArgument("rotary dimensions ", rope.rot_dim, " of head_dim ", head_dim,
                           " are not an even number of at most that size");
  }
  const auto half = static_cast<size_t>(rope.rot_dim / 2);
  if (!(rope.theta > 0)) return InvalidArgument("rope_theta ", rope.theta, " is not positive");
  if (!rope.divisors.empty() && rope.divisors.size() != half) {
    return InvalidArgument("rope_freqs has ", rope.divisors.size(), " entries, not ", half);
  }
  if (const auto* longrope = std::get_if<LongropeScaling>(&rope.scaling)) {
    if (longrope->short_factors.size() != half || longrope->long_factors.size() != half) {
      return InvalidArgument("short_factor and long_factor have ", longrope->short_factors.size(),
                             " and ", longrope->long_factors.size(), " entries, not ", half);
    }
  }
  if (std::holds_alternative<DynamicScaling>(rope.scaling) && rope.rot_dim <= 2) {
    return InvalidArgument("rope_type dynamic needs more than 2 rotary dimensions");
  }
  return absl::OkStatus();
}

absl::Status ValidateAttention(const Attention& attention) {
  if (attention.heads % attention.kv_heads != 0) {
    return InvalidArgument(attention.heads, " attention heads are not a multiple of ",
                           attention.kv_heads, " key-value heads");
  }
  return ValidateRope(attention.rope, attention.head_dim);
}

}  // namespace

absl::Status ValidateSpec(const ModelSpec& spec, const std::string& file) {
  for (const Block& block : spec.blocks) {
    const absl::Status status = ValidateAttention(std::get<Attention>(block.mixer));
    if (!status.ok()) return Annotate(status, file);
    const auto* moe = std::get_if<Moe>(&block.ffn);
    if (moe != nullptr && moe->active > moe->experts) {
      return InvalidArgument(file, ": ", moe->active, " active experts of ", moe->experts);
    }
  }
  return absl::OkStatus();
}

}  // namespace shardline
