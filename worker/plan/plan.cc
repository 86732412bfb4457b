// Opens every rank, finds those that are alike, and lets one of each kind run dry.
#include "worker/plan/plan.h"

#include <algorithm>
#include <map>

namespace shardline {
namespace {

constexpr int kMostRanks = 1024;
constexpr int64_t kUsualContext = 2048;

using Ranks = std::vector<std::unique_ptr<DryRank>>;

ModelOptions ModelOf(const PlanOptions& options) {
  return {.path = options.path,
          .dtype = options.dtype,
          .expert_parallel = options.expert_parallel,
          .max_batch_tokens = options.max_batch_tokens,
          .max_context = options.max_context};
}

absl::StatusOr<Ranks> OpenRanks(const PlanOptions& options, int count) {
  Ranks ranks;
  for (int r = 0; r < count; ++r) {
    SL_ASSIGN_OR_RETURN(ranks.emplace_back(), DryRank::Open(ModelOf(options), {r, count}));
  }
  return ranks;
}

// ---- which bytes are on several ranks ----

// The part of a tensor that a slot is on its rank.
std::string PartOf(const WeightSlot& slot) {
  std::string part = Cat(slot.name, " ", slot.expert.index);
  for (const Axis& axis : slot.axes) part += Cat(" ", axis.begin(), "+", axis.local());
  return part;
}

using Holders = std::map<std::string, int>;

template <typename Targets>
void CountHolders(const Targets& targets, Holders& holders) {
  for (const auto& target : targets) {
    for (const WeightSlot& slot : target.parts) ++holders[PartOf(slot)];
  }
}

// Of a target that takes `bytes`, those of parts that another rank holds too.
uint64_t Copied(const std::vector<WeightSlot>& parts, uint64_t bytes, const Holders& holders) {
  int64_t all = 0, copied = 0;
  for (const WeightSlot& slot : parts) {
    all += slot.elements();
    if (holders.at(PartOf(slot)) > 1) copied += slot.elements();
  }
  return all == 0 ? 0 : bytes * copied / all;
}

uint64_t CopiedBytes(const DryRank& rank, const Holders& holders) {
  uint64_t copied = 0;
  for (const MatrixTarget& target : rank.weights().matrices) {
    copied += Copied(target.parts, target.packed->bytes, holders);
  }
  for (const VectorTarget& target : rank.weights().vectors) {
    copied += Copied(target.parts, target.view->bytes(), holders);
  }
  return copied;
}

// ---- ranks that are alike ----

bool Alike(const DryRank& a, const DryRank& b) {
  const auto same_layers = [](const StateGroup& x, const StateGroup& y) {
    return x.array_bytes() == y.array_bytes() && x.layers == y.layers;
  };
  return a.layout().matrices == b.layout().matrices && a.layout().vectors == b.layout().vectors &&
         a.layout().bytes == b.layout().bytes && a.activation_bytes() == b.activation_bytes() &&
         std::equal(a.state_groups().begin(), a.state_groups().end(), b.state_groups().begin(),
                    b.state_groups().end(), same_layers);
}

RankFigures FiguresOf(const DryRank& rank, const PlanOptions& options) {
  RankFigures figures{.weight_bytes = rank.layout().bytes,
                      .activation_bytes = rank.activation_bytes(),
                      .groups = rank.state_groups()};
  for (const StateGroup& group : figures.groups) {
    if (group.recurrent()) {
      figures.state_bytes += group.block_bytes();
    } else {
      figures.token_bytes += group.block_bytes() / kBlockTokens;
    }
  }
  figures.kv_bytes =
      static_cast<int64_t>(options.device.memory_bytes) -
      static_cast<int64_t>(figures.weight_bytes + figures.activation_bytes + options.reserve_bytes);
  return figures;
}

// One DryRank of each kind stays in `ranks`, at its figures' place.
std::vector<RankFigures> GroupRanks(const PlanOptions& options, Ranks& ranks) {
  Holders holders;
  for (const auto& rank : ranks) {
    CountHolders(rank->weights().matrices, holders);
    CountHolders(rank->weights().vectors, holders);
  }
  std::vector<RankFigures> kinds;
  Ranks kept;
  for (size_t r = 0; r < ranks.size(); ++r) {
    const auto known = std::find_if(kept.begin(), kept.end(),
                                    [&](const auto& other) { return Alike(*other, *ranks[r]); });
    const size_t kind = known - kept.begin();
    if (known == kept.end()) {
      kinds.push_back(FiguresOf(*ranks[r], options));
      kinds.back().copied_bytes = CopiedBytes(*ranks[r], holders);
      kept.push_back(std::move(ranks[r]));
    }
    kinds[kind].ranks.push_back(static_cast<int>(r));
  }
  ranks = std::move(kept);
  return kinds;
}

// ---- what fits ----

KvLimits LimitsOf(const PlanOptions& options, int64_t context) {
  constexpr int64_t kMostSequences = 65536;  // the worker's own limit
  return {kMostSequences, context, options.max_batch_tokens};
}

ContextFigures Fit(const PlanOptions& options, const std::vector<RankFigures>& kinds,
                   int64_t context) {
  const KvLimits limits = LimitsOf(options, context);
  ContextFigures figures{.tokens = context, .sequences = limits.max_sequences};
  for (const RankFigures& kind : kinds) {
    figures.sequence_bytes = std::max(figures.sequence_bytes, SequenceBytes(kind.groups, limits));
    const uint64_t kv_bytes = std::max<int64_t>(0, kind.kv_bytes);
    figures.sequences =
        std::min(figures.sequences, SequencesThatFit(kind.groups, limits, kv_bytes));
  }
  return figures;
}

bool Fits(const PlanOptions& options, const std::vector<RankFigures>& kinds, int64_t context) {
  return Fit(options, kinds, context).sequences > 0;
}

// More than were asked for; 0: none, because more ranks than that cannot share the model.
absl::StatusOr<int> SmallestFit(const PlanOptions& options, int64_t context) {
  for (int count = options.ranks + 1; count <= kMostRanks; ++count) {
    const auto first = DryRank::Open(ModelOf(options), {0, count});
    if (!first.ok()) break;
    if (!Fits(options, {FiguresOf(**first, options)}, context)) continue;
    SL_ASSIGN_OR_RETURN(Ranks ranks, OpenRanks(options, count));
    if (Fits(options, GroupRanks(options, ranks), context)) return count;
  }
  return 0;
}

// ---- how fast ----

// A step takes as long as the rank that has most to do.
absl::StatusOr<StepFigures> RunStep(const Ranks& kinds, const DryStep& step) {
  StepFigures figures{.step = step};
  for (const auto& rank : kinds) {
    SL_ASSIGN_OR_RETURN(const StepCost cost, rank->Run(step));
    figures.traffic = cost.traffic;  // the same on all
    figures.flops = std::max(figures.flops, cost.work.flops);
    figures.bytes = std::max(figures.bytes, cost.work.bytes());
  }
  return figures;
}

absl::Status RunSteps(const PlanOptions& options, const Ranks& kinds, ModelPlan& plan) {
  const int64_t prompt = std::min(plan.info.context_tokens, options.max_batch_tokens);
  SL_ASSIGN_OR_RETURN(plan.prefill, RunStep(kinds, {.tokens = prompt}));
  for (const ContextFigures& context : plan.contexts) {
    DryStep step{.first_position = context.tokens - 1};
    SL_ASSIGN_OR_RETURN(plan.decode.emplace_back(), RunStep(kinds, step));
    step.sequences = std::min({context.sequences, options.max_sequences, options.max_batch_tokens});
    if (step.sequences < 2) continue;
    SL_ASSIGN_OR_RETURN(plan.decode.emplace_back(), RunStep(kinds, step));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> Contexts(const PlanOptions& options, int64_t longest) {
  if (options.contexts.empty()) {
    if (longest <= kUsualContext) return std::vector{longest};
    return std::vector{kUsualContext, longest};
  }
  for (const int64_t tokens : options.contexts) {
    if (tokens > longest) {
      return InvalidArgument("--context: ", tokens, " is longer than the ", longest,
                             " positions of the model; see --max-context");
    }
  }
  return options.contexts;
}

}  // namespace

absl::StatusOr<ModelPlan> PlanModel(const PlanOptions& options) {
  SL_ASSIGN_OR_RETURN(Ranks ranks, OpenRanks(options, options.ranks));
  ModelPlan plan{.info = ranks[0]->info()};
  SL_ASSIGN_OR_RETURN(const std::vector<int64_t> contexts,
                      Contexts(options, plan.info.context_tokens));
  plan.ranks = GroupRanks(options, ranks);
  for (const int64_t tokens : contexts) {
    plan.contexts.push_back(Fit(options, plan.ranks, tokens));
    if (options.device.memory_bytes == 0) plan.contexts.back().sequences = 0;
  }
  SL_RETURN_IF_ERROR(RunSteps(options, ranks, plan));
  if (options.device.memory_bytes == 0) return plan;
  plan.fits = Fits(options, plan.ranks, plan.info.context_tokens);
  if (!plan.fits) {
    SL_ASSIGN_OR_RETURN(plan.smallest, SmallestFit(options, plan.info.context_tokens));
  }
  return plan;
}

}  // namespace shardline
