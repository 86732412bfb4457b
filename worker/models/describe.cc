// Blocks are described one by one with "*" in place of their number; those that read the same are
// one entry.
#include "worker/models/describe.h"

#include <algorithm>

#include "worker/models/open.h"
#include "worker/weights/resolve.h"

namespace shardline {
namespace {

using Row = std::vector<std::string>;

// Columns two spaces apart, each line behind `indent`; nothing behind the last cell.
std::string Table(const std::vector<Row>& rows, std::string_view indent) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line(indent);
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string RopeText(const Rope& rope) {
  if (rope.rot_dim == 0) return "none";
  std::string text = Cat("theta ", rope.theta, ", ", rope.rot_dim, " dimensions");
  struct Scaling {
    std::string operator()(const NoScaling&) const { return ""; }
    std::string operator()(const LinearScaling& s) const { return Cat(", linear by ", s.factor); }
    std::string operator()(const DynamicScaling& s) const {
      return Cat(", dynamic by ", s.factor, " past ", s.max_positions);
    }
    std::string operator()(const YarnScaling& s) const {
      return Cat(", yarn by ", s.factor, " past ", s.original_positions);
    }
    std::string operator()(const LongropeScaling& s) const {
      return Cat(", longrope past ", s.original_positions);
    }
    std::string operator()(const Llama3Scaling& s) const {
      return Cat(", llama3 by ", s.factor, " past ", s.original_positions);
    }
  };
  if (rope.style == RopeStyle::kInterleaved) text += ", in neighbouring pairs";
  text += std::visit(Scaling{}, rope.scaling);
  return text + (rope.divisors.empty() ? "" : ", frequencies divided by the file's");
}

std::string NormText(const NormSpec& norm) {
  return Cat(norm.centred ? "layer norm, eps " : "rms, eps ", norm.norm.eps,
             norm.weight == VectorForm::kPlusOne ? ", one added to the weight" : "",
             norm.has_weight ? "" : ", no weight", norm.has_bias ? ", bias" : "");
}

std::string MixerText(const Attention& a) {
  std::string text = Cat(a.heads, " heads, ", a.kv_heads, " kv_heads, head_dim ", a.head_dim, ", ",
                         a.window > 0 ? Cat("window ", a.window) : std::string("no window"));
  if (a.scale > 0) text += Cat(", scale ", a.scale);
  if (a.score_cap > 0) text += Cat(", scores capped at ", a.score_cap);
  if (a.qkv_bias || a.out_bias) text += a.out_bias ? ", biases" : ", biases of q, k, v";
  if (a.clip > 0) text += Cat(", queries, keys and values within ", a.clip);
  if (!a.alibi.slopes.empty())
    text += a.alibi.scaled ? ", scaled linear biases" : ", linear biases";
  if (a.head_norm && a.norm_per_head) text += ", a norm of its own for each head";
  if (a.row_norm) text += ", norms of all queries and of all keys";
  return text + (a.head_norm && !a.norm_per_head ? ", norms of queries' and keys' heads" : "");
}

std::string MixerText(const LatentAttention& a) {
  std::string text =
      Cat(a.heads, " heads over a latent of ", a.kv_rank, " and a key of ", a.rope.rot_dim,
          ", keys ", a.nope_dim, " + ", a.rope.rot_dim, ", values ", a.value_dim);
  if (a.q_rank > 0) text += Cat(", queries from a latent of ", a.q_rank);
  if (a.scale > 0) text += Cat(", scale ", a.scale);
  return text + (a.bias ? ", biases" : "");
}

std::string FfnText(const Mlp& mlp) {
  const auto name = [&]() -> std::string_view {
    switch (mlp.activation) {
      case Activation::kSilu:
        return "silu";
      case Activation::kGeluTanh:
        return "gelu (tanh)";
      case Activation::kGelu:
        return "gelu";
      case Activation::kRelu2:
        return "relu squared";
    }
    return "";
  };
  return Cat("inner ", mlp.inner, ", ", name(), mlp.gated ? "" : ", no gate",
             mlp.bias ? ", biases" : "");
}

std::string FfnText(const Moe& moe) {
  const Router& router = moe.router;
  const Routing& routing = router.routing;
  std::string text = Cat(moe.active, " of ", moe.experts, " experts, inner ", moe.inner, ", ",
                         routing.scoring == Scoring::kSoftmax ? "softmax" : "sigmoid",
                         router.in_f32 ? " in f32" : "", router.choice_bias ? ", choice bias" : "");
  if (routing.groups > 1) {
    text += Cat(" of the best ", routing.active_groups, " of ", routing.groups, " groups");
  }
  if (routing.renormalise) text += ", weights that sum to one";
  if (routing.scale != 1) text += Cat(", times ", routing.scale);
  if (!moe.shared) return text;
  return Cat(text, "; shared: ", FfnText(*moe.shared), moe.shared_gate ? ", gate" : "");
}

// What a mixer is and how it rotates.
std::vector<Row> MixerRows(const Attention& attention) {
  return {{"attn", MixerText(attention)}, {"rope", RopeText(attention.rope)}};
}

std::vector<Row> MixerRows(const LatentAttention& attention) {
  return {{"attn", MixerText(attention)}, {"rope", RopeText(attention.rope)}};
}

std::vector<Row> MixerRows(const Mamba& m) {
  return {{"mamba",
           Cat("inner ", m.inner, ", state ", m.state, ", convolution over ", m.taps, ", dt rank ",
               m.dt_rank, m.bias ? ", biases" : "", m.conv_bias ? "" : ", convolution without bias",
               m.part_norm ? ", norms of dt, B and C" : "")}};
}

std::string ResidualText(const Block& block) {
  const std::string scale = block.residual_scale == 1 ? "" : Cat(block.residual_scale, " * ");
  const bool in = block.residual != Residual::kPostNorm;
  const bool out = block.residual == Residual::kSandwich || block.residual == Residual::kPostNorm;
  if (block.residual == Residual::kParallel || block.residual == Residual::kParallelTwoNorms) {
    const bool one = block.residual == Residual::kParallel;
    return Cat("x += ", scale, scale.empty() ? "" : "(", "attn(norm1(x)) + mlp(",
               one ? "norm1" : "norm2", "(x))", scale.empty() ? "" : ")");
  }
  const auto sum = [&](std::string_view part, std::string_view norm) {
    const std::string input = in ? Cat(norm, "(x)") : std::string("x");
    const std::string output = Cat(part, "(", input, ")");
    return Cat("x += ", scale, out ? Cat(norm, "_out(", output, ")") : output);
  };
  const std::string_view mixer = std::holds_alternative<Mamba>(block.mixer) ? "mamba" : "attn";
  if (std::holds_alternative<std::monostate>(block.ffn)) return sum(mixer, "norm1");
  return Cat(sum(mixer, "norm1"), "; ", sum("mlp", "norm2"));
}

std::string ShapeText(const WeightSlot& slot) {
  std::string text;
  for (const Axis& axis : slot.axes) {
    text += Cat(text.empty() ? "[" : ", ", axis.name, " ", axis.size);
  }
  return text + (slot.expert.count > 0 ? Cat("] x ", slot.expert.count) : std::string("]"));
}

std::string StoredText(const WeightSlot& slot, const Source& source) {
  const int64_t rows = slot.axes[0].size;
  std::string text = Cat(source.tensor->name);
  if (slot.expert.rows > 0 && source.tensor->shape.size() == 2) {
    text += Cat(" rows ", source.first, "-", source.first + source.run - 1, " of every ",
                slot.expert.rows, source.transposed ? ", transposed" : "");
  } else if (source.stride != rows) {
    text += Cat(" rows ", source.first, "-", source.first + source.run - 1);
    if (source.run != rows) text += Cat(" of every ", source.stride);
  }
  if (const auto& scales = source.tensor->scales) {
    text += Cat(" (", source.tensor->type_name, ", a scale for ", scales->rows, " x ", scales->cols,
                ")");
  }
  return text + (source.order == RowOrder::kInterleavedHeads ? " (heads interleaved)" : "");
}

// "12.attn.q.weight" -> 12; -1 outside of blocks.
int64_t BlockOf(const std::string& slot) {
  return slot[0] >= '0' && slot[0] <= '9' ? std::stoll(slot) : -1;
}

// The number of a block becomes "*": in its slot's name the first part, in its tensor's the part
// that is the number.
std::string Starred(const std::string& name, int64_t block) {
  if (block < 0) return name;
  const std::string number = Cat(block);
  std::string padded = Cat(".", name, ".");
  const size_t at = padded.find(Cat(".", number, "."));
  if (at != std::string::npos) padded.replace(at + 1, number.size(), "*");
  return padded.substr(1, padded.size() - 2);
}

// "0-4, 6-10, 12"
std::string Ranges(const std::vector<size_t>& numbers) {
  std::string out;
  for (size_t i = 0, last = 0; i < numbers.size(); i = last + 1) {
    for (last = i; last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1;) ++last;
    out += Cat(out.empty() ? "" : ", ", numbers[i]);
    if (last > i) out += Cat("-", numbers[last]);
  }
  return out;
}

class Description {
 public:
  Description(OpenedModel& opened, const Sources& sources)
      : opened_(opened), weights_(opened.decoder->spec().blocks.size() + 1) {
    const WeightPlan& plan = opened.decoder->plan();
    for (size_t i = 0; i < plan.matrices.size(); ++i) {
      Take(plan.matrices[i].parts, sources.matrices[i]);
    }
    for (size_t i = 0; i < plan.vectors.size(); ++i) {
      Take(plan.vectors[i].parts, sources.vectors[i]);
    }
  }

  std::string Text() const {
    return Cat(Header(), Blocks(), "\noutside of blocks\n", Table(weights_[0], "  "), "\n", Axes(),
               "\n", StateGroups());
  }

 private:
  void Take(const std::vector<WeightSlot>& slots, const std::vector<Source>& sources) {
    for (size_t i = 0; i < slots.size(); ++i) {
      const int64_t block = BlockOf(slots[i].name);
      if (slots[i].expert.index > 0) continue;  // like the first
      weights_[block + 1].push_back({Starred(slots[i].name, block), ShapeText(slots[i]),
                                     Starred(StoredText(slots[i], sources[i]), block)});
      for (const Axis& axis : slots[i].axes) {
        if (std::find(axes_.begin(), axes_.end(), axis) == axes_.end()) axes_.push_back(axis);
      }
    }
  }

  std::string Header() const {
    const ModelInfo& info = opened_.info;
    const ModelSpec& spec = opened_.decoder->spec();
    std::vector<Row> rows = {
        {"family", info.family},
        {"arithmetic", info.arithmetic},
        {"quantisation", info.quantisation},
        {"parameters", Cat(info.parameters)},
        {"vocabulary", Cat(spec.vocabulary)},
        {"hidden", Cat(spec.hidden)},
        {"context", Cat(info.context_tokens)},
        {"head", Cat(spec.tied_head ? "the embedding's matrix" : "a matrix of its own",
                     spec.head_bias ? ", bias" : "")},
        {"final norm", NormText(spec.final_norm)}};
    if (spec.embedding_scale != 1) {
      rows.push_back({"embedding", Cat("times ", spec.embedding_scale,
                                       spec.round_embedding_scale ? " (rounded)" : "")});
    }
    if (spec.learned_positions > 0) {
      rows.push_back({"positions", Cat(spec.learned_positions, " learned")});
    }
    if (spec.wide_stream) rows.push_back({"stream", "f32"});
    std::string logits;
    if (spec.logit_scale != 1) logits = Cat("times ", spec.logit_scale);
    if (spec.logit_cap > 0) {
      logits += Cat(logits.empty() ? "" : ", then ", "capped at ", spec.logit_cap);
    }
    if (!logits.empty()) rows.push_back({"logits", logits});
    return Table(rows, "");
  }

  std::string BlockText(size_t index) const {
    const Block& block = opened_.decoder->spec().blocks[index];
    std::vector<Row> rows = {{"order", ResidualText(block)}, {"norms", NormText(block.norm)}};
    for (Row& row : std::visit([](const auto& m) { return MixerRows(m); }, block.mixer)) {
      rows.push_back(std::move(row));
    }
    if (const auto* mlp = std::get_if<Mlp>(&block.ffn)) rows.push_back({"mlp", FfnText(*mlp)});
    if (const auto* moe = std::get_if<Moe>(&block.ffn)) rows.push_back({"mlp", FfnText(*moe)});
    return Cat(Table(rows, "  "), Table(weights_[index + 1], "  "));
  }

  std::string Blocks() const {
    std::vector<std::pair<std::string, std::vector<size_t>>> groups;
    for (size_t i = 0; i + 1 < weights_.size(); ++i) {
      std::string text = BlockText(i);
      auto group = std::find_if(groups.begin(), groups.end(),
                                [&](const auto& known) { return known.first == text; });
      if (group == groups.end()) group = groups.insert(groups.end(), {std::move(text), {}});
      group->second.push_back(i);
    }
    std::string out;
    for (const auto& [text, blocks] : groups) {
      out += Cat(blocks.size() == 1 ? "\nblock " : "\nblocks ", Ranges(blocks), "\n", text);
    }
    return out;
  }

  std::string Axes() const {
    std::vector<Row> rows = {{"axis", "length", "granule"}};
    for (const Axis& axis : axes_) {
      rows.push_back({axis.name, Cat(axis.size),
                      axis.granule > 0 ? Cat(axis.granule) : std::string("whole on every rank")});
    }
    return Table(rows, "");
  }

  std::string StateGroups() const {
    std::vector<Row> rows = {
        {"state group", "layers", "kv_heads", "head_dim", "window", "type", "bytes per block"}};
    std::string recurrent;
    for (const StateGroup& group : opened_.decoder->state_groups()) {
      if (group.recurrent()) {
        recurrent += RecurrentText(group);
        continue;
      }
      rows.push_back({Cat(rows.size() - 1), Cat(group.layers), Cat(group.kv_heads),
                      Cat(group.head_dim, group.shared_values > 0
                                              ? Cat(" (values: ", group.shared_values, " of it)")
                                              : std::string()),
                      group.window > 0 ? Cat(group.window) : std::string("none"),
                      std::string(NameOf(group.type)), Cat(group.block_bytes())});
    }
    if (rows.size() == 1) return recurrent;
    return Cat(Table(rows, ""), "a block holds ", kBlockTokens, " positions\n", recurrent);
  }

  static std::string RecurrentText(const StateGroup& group) {
    std::vector<Row> rows = {{"recurrent state", "rows", "columns", "type"}};
    for (const StatePart& part : group.parts) {
      rows.push_back(
          {Cat(rows.size() - 1), Cat(part.rows), Cat(part.cols), std::string(NameOf(part.type))});
    }
    return Cat(Table(rows, ""), "of ", group.layers, " layers, ", group.block_bytes(),
               " bytes per sequence\n");
  }

  OpenedModel& opened_;
  std::vector<std::vector<Row>> weights_;  // by block number + 1; [0]: outside of blocks
  std::vector<Axis> axes_;
};

}  // namespace

absl::StatusOr<std::string> DescribeModel(const ModelOptions& options) {
  SL_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(options));
  SL_ASSIGN_OR_RETURN(const Sources sources,
                      ResolveSources(*opened.checkpoint, opened.names, opened.decoder->plan()));
  return Description(opened, sources).Text();
}

}  // namespace shardline
