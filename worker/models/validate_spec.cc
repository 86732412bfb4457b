// Checks a spec before anything is planned from it: how its numbers fit together. Whether each is
// in range was checked where it was read.
#include <algorithm>
#include <cmath>

#include "worker/models/spec.h"

namespace shardline {
namespace {

// Each problem once, however many blocks have it.
class Problems {
 public:
  template <typename... Parts>
  void Add(const Parts&... parts) {
    std::string text = Cat(parts...);
    if (std::find(found_.begin(), found_.end(), text) == found_.end()) {
      found_.push_back(std::move(text));
    }
  }
  std::vector<std::string> Take() { return std::move(found_); }

 private:
  std::vector<std::string> found_;
};

bool AllPositive(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value) && value > 0; });
}

void ValidateRope(const Rope& rope, int64_t head_dim, Problems& problems) {
  if (rope == Rope{.rot_dim = 0}) return;  // nothing rotates
  if (rope.rot_dim < 2 || rope.rot_dim % 2 != 0 || rope.rot_dim > head_dim) {
    problems.Add("rotary dimensions ", rope.rot_dim, " of head_dim ", head_dim,
                 " are not an even number of at most that size");
  }
  const auto half = static_cast<size_t>(rope.rot_dim / 2);
  if (!rope.divisors.empty() && rope.divisors.size() != half) {
    problems.Add("rope_freqs has ", rope.divisors.size(), " entries, not ", half);
  }
  if (!AllPositive(rope.divisors)) problems.Add("rope_freqs holds what is no positive number");
  if (const auto* longrope = std::get_if<LongropeScaling>(&rope.scaling)) {
    if (longrope->short_factors.size() != half || longrope->long_factors.size() != half) {
      problems.Add("short_factor and long_factor have ", longrope->short_factors.size(), " and ",
                   longrope->long_factors.size(), " entries, not ", half);
    }
    if (!std::isfinite(longrope->attention_factor)) {
      problems.Add("the attention factor of longrope is not finite");
    }
    if (!AllPositive(longrope->short_factors) || !AllPositive(longrope->long_factors)) {
      problems.Add("short_factor or long_factor holds what is no positive number");
    }
  }
  if (std::holds_alternative<DynamicScaling>(rope.scaling) && rope.rot_dim <= 2) {
    problems.Add("rope_type dynamic needs more than 2 rotary dimensions");
  }
}

void ValidateMixer(const Attention& attention, Problems& problems) {
  constexpr int64_t kMostNormedHeads = 512;  // each is a tensor of its own
  if (attention.norm_per_head && attention.heads > kMostNormedHeads) {
    problems.Add(attention.heads, " heads with norms of their own exceed ", kMostNormedHeads);
  }
  if (attention.head_dim < 1) problems.Add("heads have no dimensions");
  if (attention.heads % attention.kv_heads != 0) {
    problems.Add(attention.heads, " attention heads are not a multiple of ", attention.kv_heads,
                 " key-value heads");
  }
  ValidateRope(attention.rope, attention.head_dim, problems);
}

void ValidateMixer(const LatentAttention& attention, Problems& problems) {
  constexpr int64_t kMostLatentHeads = 512;  // each has two matrices of its own
  if (attention.heads > kMostLatentHeads) {
    problems.Add(attention.heads, " heads over a latent exceed ", kMostLatentHeads);
  }
  if (attention.rope.rot_dim == 0) {
    problems.Add("qk_rope_head_dim (rope.dimension_count) is 0");
  }
  ValidateRope(attention.rope, attention.rope.rot_dim, problems);
}

void ValidateMixer(const Mamba&, Problems&) {}

// Groups that do not exist have no sizes, so the rest is said only of those that do.
void ValidateGroups(const Moe& moe, Problems& problems) {
  const Routing& routing = moe.router.routing;
  if (routing.groups < 1 || routing.groups > kMostExpertGroups ||
      moe.experts % routing.groups != 0) {
    problems.Add("n_group (expert_group_count) ", routing.groups, " does not divide ", moe.experts,
                 " experts or exceeds ", kMostExpertGroups);
    return;
  }
  const int64_t size = moe.experts / routing.groups;
  if (routing.active_groups < 1 || routing.active_groups > routing.groups) {
    problems.Add("topk_group (expert_group_used_count) ", routing.active_groups, " of ",
                 routing.groups, " groups");
  } else if (routing.active_groups * size < moe.active) {
    problems.Add("num_experts_per_tok (expert_used_count) ", moe.active, " of ",
                 routing.active_groups, " groups (topk_group) of ", size, " experts");
  }
  if (routing.group_score == GroupScore::kSumOfTwoLargest && size < 2) {
    problems.Add("n_group (expert_group_count) ", routing.groups,
                 " makes groups of one expert, whose two best do not exist");
  }
}

void ValidateMoe(const Moe& moe, Problems& problems) {
  if (moe.experts < 1) return problems.Add("a mixture of no experts");
  if (moe.active < 1 || moe.active > moe.experts) {
    problems.Add("num_experts_per_tok (expert_used_count) ", moe.active, " of ", moe.experts,
                 " experts");
    return;
  }
  ValidateGroups(moe, problems);
}

}  // namespace

std::vector<std::string> SpecProblems(const ModelSpec& spec) {
  Problems problems;
  for (const Block& block : spec.blocks) {
    std::visit([&](const auto& mixer) { ValidateMixer(mixer, problems); }, block.mixer);
    if (const auto* moe = std::get_if<Moe>(&block.ffn)) ValidateMoe(*moe, problems);
  }
  return problems.Take();
}

absl::Status ValidateSpec(const ModelSpec& spec, const std::string& file) {
  std::string text;
  for (const std::string& problem : SpecProblems(spec)) {
    text += Cat(text.empty() ? "" : "; ", problem);
  }
  return text.empty() ? absl::OkStatus() : InvalidArgument(file, ": ", text);
}

}  // namespace shardline
