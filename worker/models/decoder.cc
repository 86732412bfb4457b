// Builds layers from a spec, plans the arena, and runs steps.
#include "worker/models/decoder.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/half.h"

namespace shardline {
namespace {

std::unique_ptr<Layer> MakeLayer(const Attention& spec, int64_t hidden, int rope) {
  return std::make_unique<AttentionLayer>(spec, hidden, rope);
}
std::unique_ptr<Layer> MakeLayer(const LatentAttention& spec, int64_t hidden, int rope) {
  return std::make_unique<LatentAttentionLayer>(spec, hidden, rope);
}
std::unique_ptr<Layer> MakeLayer(const Mlp& spec, int64_t hidden, int) {
  return std::make_unique<MlpLayer>(spec, hidden);
}

std::unique_ptr<Layer> MakeLayer(const Moe& spec, int64_t hidden, int) {
  return std::make_unique<MoeLayer>(spec, hidden);
}
std::unique_ptr<Layer> MakeLayer(const Mamba& spec, int64_t hidden, int) {
  return std::make_unique<MambaLayer>(spec, hidden);
}
std::unique_ptr<Layer> MakeLayer(std::monostate, int64_t, int) { return nullptr; }

Rope RopeOf(const Attention& spec) { return spec.rope; }
Rope RopeOf(const LatentAttention& spec) { return spec.rope; }
Rope RopeOf(const Mamba&) { return {}; }

// What a part asks of the scratch memory.
void Raise(const Attention& spec, ScratchLimits& limits) {
  limits.heads = std::max(limits.heads, spec.heads);
  limits.kv_heads = std::max(limits.kv_heads, spec.kv_heads);
  limits.head_dim = std::max(limits.head_dim, spec.head_dim);
  limits.hidden = std::max(limits.hidden, spec.heads * spec.head_dim);
}
void Raise(const LatentAttention& spec, ScratchLimits& limits) {
  const int64_t key = spec.kv_rank + spec.rope.rot_dim;
  limits.heads = std::max(limits.heads, spec.heads);
  limits.kv_heads = std::max<int64_t>(limits.kv_heads, 1);
  limits.head_dim = std::max(limits.head_dim, key);
  limits.hidden =
      std::max({limits.hidden, spec.heads * std::max(key, spec.value_dim), spec.q_rank});
}
void Raise(const Mamba& spec, ScratchLimits& limits) {
  limits.hidden = std::max({limits.hidden, spec.inner, spec.dt_rank});
}
void Raise(const Mlp& spec, ScratchLimits& limits) {
  limits.hidden = std::max(limits.hidden, spec.inner);
}
void Raise(const Moe& spec, ScratchLimits& limits) {
  limits.hidden = std::max({limits.hidden, spec.inner, spec.shared ? spec.shared->inner : 0});
}
void Raise(std::monostate, ScratchLimits&) {}

// As an element of the model's type holds it.
float RoundTo(DType type, double x) {
  const auto f = static_cast<float>(x);
  if (type == DType::kBF16) return WidenBf16(RoundToBf16(f));
  return type == DType::kF16 ? WidenF16(RoundToF16(f)) : f;
}

bool IsParallel(const Block& block) {
  return block.residual == Residual::kParallel || block.residual == Residual::kParallelTwoNorms;
}

bool SameGroup(const StateGroup& a, const StateGroup& b) {
  return a.all_kv_heads == b.all_kv_heads && a.head_dim == b.head_dim && a.type == b.type &&
         a.window == b.window && a.shared_values == b.shared_values && a.parts == b.parts;
}

}  // namespace

Decoder::Decoder(ModelSpec spec, const ModelOptions& options, DType type)
    : spec_(std::move(spec)),
      options_(options),
      type_(type),
      embedding_({.vocabulary = spec_.vocabulary,
                  .hidden = spec_.hidden,
                  .tied = spec_.tied_head,
                  .scale = RoundTo(spec_.round_embedding_scale ? type : DType::kF32,
                                   spec_.embedding_scale),
                  .positions = spec_.learned_positions,
                  .head_bias = spec_.head_bias,
                  .logit_scale = static_cast<float>(spec_.logit_scale),
                  .logit_cap = static_cast<float>(spec_.logit_cap)}),
      final_norm_(spec_.final_norm, spec_.hidden) {
  plan_.split = {options_.group->rank(), options_.group->size()};
  plan_.whole_experts = options_.expert_parallel;
  embedding_.Declare(plan_);
  blocks_.reserve(spec_.blocks.size());  // the plan points into blocks
  for (size_t i = 0; i < spec_.blocks.size(); ++i) {
    AddBlock(spec_.blocks[i], static_cast<int64_t>(i));
  }
  final_norm_.Declare("final_norm", plan_);
}

absl::Status Decoder::Start(MappedMemory weights, ModelInfo info) {
  weights_ = std::move(weights);
  info_ = std::move(info);
  return PlanArena();
}

void Decoder::AddBlock(const Block& block, int64_t index) {
  const Rope rope = std::visit([](const auto& mixer) { return RopeOf(mixer); }, block.mixer);
  const auto known = std::find(ropes_.begin(), ropes_.end(), rope);
  const auto rope_index = static_cast<int>(known - ropes_.begin());
  if (known == ropes_.end() && rope.rot_dim > 0) {
    ropes_.push_back(rope);
    rope_tables_.emplace_back(rope);
  }
  const auto make = [&](const auto& part) { return MakeLayer(part, spec_.hidden, rope_index); };
  const NormLayer norm(block.norm, spec_.hidden);
  std::optional<NormLayer> norm1, norm2, norm_out;
  if (block.residual != Residual::kPostNorm) norm1 = norm2 = norm;
  const bool has_ffn = !std::holds_alternative<std::monostate>(block.ffn);
  if (block.residual == Residual::kParallel || !has_ffn) norm2.reset();
  if (block.residual == Residual::kSandwich || block.residual == Residual::kPostNorm) {
    norm_out = norm;
  }
  RunBlock& run = blocks_.emplace_back(RunBlock{.residual = block.residual,
                                                .norm1 = norm1,
                                                .mixer = std::visit(make, block.mixer),
                                                .norm1_out = norm_out,
                                                .norm2 = norm2,
                                                .ffn = std::visit(make, block.ffn),
                                                .norm2_out = norm_out,
                                                .scale = static_cast<float>(block.residual_scale)});
  if (run.norm1) run.norm1->Declare(Cat(index, ".norm1"), plan_);
  run.mixer->Declare(Cat(index, ".attn"), plan_);
  if (run.norm1_out) run.norm1_out->Declare(Cat(index, ".norm1_out"), plan_);
  if (run.norm2) run.norm2->Declare(Cat(index, ".norm2"), plan_);
  if (run.ffn) run.ffn->Declare(Cat(index, ".mlp"), plan_);
  if (run.norm2_out) run.norm2_out->Declare(Cat(index, ".norm2_out"), plan_);
  PlaceState(*run.mixer);
  if (run.ffn) PlaceState(*run.ffn);
}

void Decoder::PlaceState(Layer& layer) {
  const std::optional<StateGroup> state = layer.state(type_);
  if (!state) return;
  auto group = std::find_if(groups_.begin(), groups_.end(),
                            [&](const StateGroup& g) { return SameGroup(g, *state); });
  if (group == groups_.end()) {
    groups_.push_back(*state);
    group = groups_.end() - 1;
    group->layers = 0;
  }
  layer.PlaceState({.group = static_cast<int>(group - groups_.begin()), .layer = group->layers++});
}

ScratchLimits Decoder::Limits() const {
  ScratchLimits limits{.max_tokens = options_.max_batch_tokens,
                       .max_context = options_.max_context,
                       .hidden = spec_.hidden};
  const auto raise = [&limits](const auto& part) { Raise(part, limits); };
  for (const Block& block : spec_.blocks) {
    std::visit(raise, block.mixer);
    std::visit(raise, block.ffn);
  }
  return limits;
}

// Layers run one after the other, so they share one piece: the largest that any of them takes.
size_t Decoder::LayerBytes() const {
  size_t most = 0;
  for (const RunBlock& block : blocks_) {
    for (const Layer* layer : {block.mixer.get(), block.ffn.get()}) {
      Workspace measure;
      if (layer == nullptr) continue;
      layer->Plan(measure, type_, options_.max_batch_tokens);
      most = std::max(most, measure.used());
    }
  }
  return most;
}

void Decoder::Carve(Workspace& arena) {
  const int64_t tokens = options_.max_batch_tokens;
  ids_ = arena.Take(DType::kU32, {tokens});
  head_memory_ = embedding_.Take(arena, std::min(tokens, kLogitRows), options_.group->size());
  const DType stream = spec_.wide_stream ? DType::kF32 : type_;
  x_ = arena.Take(stream, {tokens, spec_.hidden});
  h_ = arena.Take(type_, {tokens, spec_.hidden});
  wanted_x_ = stream == type_ ? h_ : arena.Take(stream, {tokens, spec_.hidden});
  if (spec_.learned_positions > 0) positions_ = arena.Take(DType::kU32, {tokens});
  if (std::any_of(spec_.blocks.begin(), spec_.blocks.end(), IsParallel)) {
    mixed_ = arena.Take(type_, {tokens, spec_.hidden});
  }
  for (size_t i = 0; i < ropes_.size(); ++i) {
    cos_[i] = arena.Take(DType::kF32, {tokens, ropes_[i].rot_dim / 2});
    sin_[i] = arena.Take(DType::kF32, {tokens, ropes_[i].rot_dim / 2});
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].recurrent()) slots_[g] = arena.Take(DType::kI64, {tokens});
  }
  layer_memory_ = arena.Take(DType::kU8, {static_cast<int64_t>(LayerBytes())});
  const size_t scratch =
      options_.ops->scratch_bytes(Limits(), options_.threads ? options_.thread_count : 1);
  scratch_ = arena.Take(DType::kU8, {static_cast<int64_t>(scratch)});
}

absl::Status Decoder::PlanArena() {
  cos_.resize(ropes_.size());
  sin_.resize(ropes_.size());
  slots_.resize(groups_.size());
  group_steps_.resize(groups_.size());
  rope_steps_.resize(ropes_.size());
  for (GroupStep& step : group_steps_) step.rows.reserve(options_.max_batch_tokens);

  Workspace measure;
  Carve(measure);
  SL_ASSIGN_OR_RETURN(
      arena_, MappedMemory::Allocate(measure.used(), "activations; see --max-batch-tokens"));
  Workspace arena(arena_.data(), arena_.bytes());
  Carve(arena);
  step_ = {.ops = options_.ops,
           .op = {.threads = options_.threads,
                  .scratch = scratch_.data,
                  .scratch_bytes = scratch_.bytes()},
           .group = options_.group,
           .groups = group_steps_,
           .ropes = rope_steps_};
  return absl::OkStatus();
}

absl::Status Decoder::CheckPlan(const StepPlan& plan) const {
  const auto tokens = static_cast<int64_t>(plan.tokens.size());
  if (tokens > options_.max_batch_tokens) {
    return InvalidArgument("a step of ", tokens, " tokens exceeds ", options_.max_batch_tokens);
  }
  if (static_cast<int64_t>(plan.wanted.size()) > options_.max_batch_tokens) {
    return InvalidArgument("a step wants logits of ", plan.wanted.size(), " tokens");
  }
  for (uint32_t id : plan.tokens) {
    if (id >= spec_.vocabulary) {
      return InvalidArgument("token ", id, " is outside the vocabulary of ", spec_.vocabulary);
    }
  }
  for (uint32_t index : plan.wanted) {
    if (index >= tokens) return InvalidArgument("logits wanted of token ", index, " of ", tokens);
  }
  int64_t covered = 0;  // rows follow each other, so that every token has a position
  for (const PlanRow& row : plan.rows) {
    if (row.first_token != covered || row.token_count < 1 || row.first_position < 0 ||
        int64_t{row.first_position} + row.token_count > info_.context_tokens) {
      return InvalidArgument("plan row of slot ", row.slot, " at position ", row.first_position,
                             " is malformed or beyond the context of ", info_.context_tokens);
    }
    covered += row.token_count;
  }
  if (covered != tokens) return InvalidArgument("plan rows cover ", covered, " of ", tokens);
  return absl::OkStatus();
}

// Token ids, rotations, and where each token's keys and values go.
void Decoder::FillStep(const StepPlan& plan, StateStorage& state) {
  const auto tokens = static_cast<int64_t>(plan.tokens.size());
  step_.state = &state;
  step_.tokens = tokens;
  const auto first_token = static_cast<uint32_t>(embedding_.first_token());
  for (int64_t i = 0; i < tokens; ++i) ids_.as<uint32_t>()[i] = plan.tokens[i] - first_token;
  for (size_t i = 0; i < ropes_.size(); ++i) {
    rope_steps_[i] = {cos_[i].Rows(0, tokens), sin_[i].Rows(0, tokens)};
    rope_tables_[i].Fill(plan, rope_steps_[i].cos, rope_steps_[i].sin);
  }
  for (const PlanRow& row : plan.rows) {
    if (spec_.learned_positions == 0) break;
    std::iota(positions_.as<uint32_t>() + row.first_token,
              positions_.as<uint32_t>() + row.first_token + row.token_count, row.first_position);
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    const bool paged = !groups_[g].recurrent();
    if (paged) group_steps_[g].slots = slots_[g].Rows(0, tokens);
    group_steps_[g].rows.clear();
    auto* slots = slots_[g].as<int64_t>();
    for (const PlanRow& row : plan.rows) {
      const int32_t* blocks = state.blocks(static_cast<int>(g), row.slot);
      for (int32_t i = 0; paged && i < row.token_count; ++i) {
        const int32_t position = row.first_position + i;
        slots[row.first_token + i] =
            int64_t{blocks[position / kBlockTokens]} * kBlockTokens + position % kBlockTokens;
      }
      group_steps_[g].rows.push_back({.first_token = static_cast<int32_t>(row.first_token),
                                      .token_count = row.token_count,
                                      .first_position = row.first_position,
                                      .blocks = blocks});
    }
  }
}

// x += scale * norm_out(part(norm(x))), where a norm that is not there changes nothing.
absl::Status Decoder::RunPart(const std::optional<NormLayer>& norm, Layer& part,
                              const std::optional<NormLayer>& norm_out, float scale, const View& x,
                              const View& h) {
  const Workspace memory(static_cast<std::byte*>(layer_memory_.data), layer_memory_.bytes());
  if (norm) norm->Forward(step_, x, h);
  SL_RETURN_IF_ERROR(part.Forward(step_, memory, norm ? h : x, h));
  if (norm_out) norm_out->Forward(step_, h, h);
  if (scale != 1) step_.ops->scale(step_.op, h, scale, 0);
  step_.ops->add(step_.op, x, h);
  return absl::OkStatus();
}

// x: the residual stream, h: between norm, layer and stream. Both [tokens, hidden].
absl::Status Decoder::Run(const RunBlock& block, const View& x, const View& h) {
  switch (block.residual) {
    case Residual::kSequential:
    case Residual::kSandwich:
    case Residual::kPostNorm:
      SL_RETURN_IF_ERROR(RunPart(block.norm1, *block.mixer, block.norm1_out, block.scale, x, h));
      if (!block.ffn) return absl::OkStatus();
      return RunPart(block.norm2, *block.ffn, block.norm2_out, block.scale, x, h);
    case Residual::kParallel:
    case Residual::kParallelTwoNorms: {
      const Workspace memory(static_cast<std::byte*>(layer_memory_.data), layer_memory_.bytes());
      const View mixed = mixed_.Rows(0, step_.tokens);
      StepContext partial = step_;  // the two parts' sum is summed over ranks once
      partial.partial = true;
      block.norm1->Forward(step_, x, h);
      SL_RETURN_IF_ERROR(block.mixer->Forward(partial, memory, h, mixed));
      if (block.norm2) block.norm2->Forward(step_, x, h);
      SL_RETURN_IF_ERROR(block.ffn->Forward(partial, memory, h, h));
      step_.ops->add(step_.op, h, mixed);
      SL_RETURN_IF_ERROR(step_.group->AllReduce(h));
      if (block.scale != 1) step_.ops->scale(step_.op, h, block.scale, 0);
      step_.ops->add(step_.op, x, h);
      break;
    }
  }
  return absl::OkStatus();
}

// h's first rows := the wanted rows of x, normed.
void Decoder::GatherWanted(const StepPlan& plan) {
  wanted_ = static_cast<int64_t>(plan.wanted.size());
  if (wanted_ == 0) return;
  for (int64_t i = 0; i < wanted_; ++i) {
    std::memcpy(wanted_x_.Rows(i, 1).data, x_.Rows(plan.wanted[i], 1).data,
                spec_.hidden * SizeOf(x_.type));
  }
  final_norm_.Forward(step_, wanted_x_.Rows(0, wanted_), h_.Rows(0, wanted_));
}

absl::Status Decoder::Forward(const StepPlan& plan, StateStorage& state) {
  wanted_ = 0;
  SL_RETURN_IF_ERROR(CheckPlan(plan));
  if (plan.tokens.empty()) return absl::OkStatus();
  FillStep(plan, state);
  const View x = x_.Rows(0, step_.tokens), h = h_.Rows(0, step_.tokens);
  const View positions = spec_.learned_positions > 0 ? positions_.Rows(0, step_.tokens) : View{};
  SL_RETURN_IF_ERROR(embedding_.Embed(step_, ids_.Rows(0, step_.tokens), positions, h, x));
  for (const RunBlock& block : blocks_) {
    SL_RETURN_IF_ERROR(Run(block, x, h));
    if (options_.at_work) options_.at_work();
  }
  GatherWanted(plan);
  return absl::OkStatus();
}

absl::Status Decoder::Logits(int64_t first, int64_t count, const View& logits) {
  if (first < 0 || count < 0 || first + count > wanted_ || logits.rank != 2 ||
      logits.type != DType::kF32 || logits.shape[0] < count ||
      logits.shape[1] != spec_.vocabulary) {
    return Internal("logits of rows ", first, "+", count, " of ", wanted_, " do not fit");
  }
  if (count == 0) return absl::OkStatus();
  return embedding_.Logits(step_, h_.Rows(first, count), head_memory_, logits.Rows(0, count));
}

}  // namespace shardline
