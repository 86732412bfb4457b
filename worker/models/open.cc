// Checks one thing after the other. What is wrong with a configuration and with the tensors is told
// together, so far as it can be known.
#include "worker/models/open.h"

#include <algorithm>
#include <cstring>

#include "worker/models/dense.h"
#include "worker/models/unread_keys.h"
#include "worker/weights/resolve.h"

namespace shardline {
namespace {

// auto: bf16 where the file holds no more precision than that is worth (bf16, f16 or quantised
// weights) and the processor has vectors to widen or multiply it with: half the bytes to read for
// every token. f32 otherwise: a file of f32 weights keeps its precision unless asked.
absl::StatusOr<DType> ChooseType(const ModelOptions& options, const Checkpoint& checkpoint) {
  if (options.dtype == "f32") return DType::kF32;
  if (options.dtype == "bf16") return DType::kBF16;
  if (options.dtype == "f16") return DType::kF16;
  if (options.dtype == "auto") {
    const bool fast = options.ops->instruction_set.starts_with("avx");
    return fast && checkpoint.main_type() != StoredType::kF32 ? DType::kBF16 : DType::kF32;
  }
  return InvalidArgument("--dtype=", options.dtype, " is not served; use auto, f32, bf16 or f16");
}

struct ReadModel {
  ModelSpec spec;
  absl::Status status;  // of the configuration
  bool fits;            // its sizes are its own and fit together, so that tensors can be compared
};

ReadModel ReadSpec(const Family& family, const Checkpoint& checkpoint) {
  Config& config = checkpoint.hf() ? static_cast<Config&>(*checkpoint.hf()) : *checkpoint.gguf();
  ModelSpec spec = checkpoint.hf() ? family.from_hf(*checkpoint.hf())
                                   : family.from_gguf(*checkpoint.gguf(), checkpoint);
  if (checkpoint.hf()) RefuseUnreadKeys(*checkpoint.hf());
  // What does not fit together is no news where a number only stands in for one that is missing.
  bool fits = config.complete();
  if (fits) {
    for (const std::string& problem : SpecProblems(spec)) {
      config.Note(problem);
      fits = false;
    }
  }
  return {std::move(spec), config.status(), fits};
}

absl::Status Joined(const absl::Status& configuration, const absl::Status& tensors) {
  if (tensors.ok()) return configuration;
  return InvalidArgument(Message(configuration), "; ", Message(tensors));
}

NameTable NamesOf(const Family& family, const Checkpoint& checkpoint, const ModelSpec& spec) {
  if (checkpoint.hf()) return family.hf_names(checkpoint);
  NameTable names = family.gguf_names(checkpoint);
  const auto layers = static_cast<int64_t>(spec.blocks.size());
  for (int64_t i = 0; i < NextTokenLayers(*checkpoint.gguf()); ++i) {
    names.ignored.push_back(Cat("blk.", layers + i, ".**"));
  }
  return names;
}

// Of all ranks together.
int64_t CountParameters(const WeightPlan& plan) {
  int64_t count = 0;
  const auto add = [&](const std::vector<WeightSlot>& slots) {
    for (const WeightSlot& slot : slots) {
      int64_t elements = 1;
      for (const Axis& axis : slot.axes) elements *= axis.size;
      count += elements;
    }
  };
  for (const MatrixTarget& target : plan.matrices) add(target.parts);
  for (const VectorTarget& target : plan.vectors) add(target.parts);
  for (const std::vector<WeightSlot>& parts : plan.elsewhere) add(parts);
  return count;
}

// Whether the file holds a head that is not the embedding once more. A sample tells: matrices that
// were trained apart differ in nearly every number.
bool HasOtherHead(const Checkpoint& checkpoint, const NameTable& names) {
  const MappedName embed = MapName(names, "embed.weight");
  const StoredTensor* embedding = checkpoint.Find(embed.tensor);
  if (embedding == nullptr) embedding = checkpoint.Find(embed.joined);
  const StoredTensor* head = checkpoint.Find(MapName(names, "head.weight").tensor);
  if (embedding == nullptr || head == nullptr || embedding->shape != head->shape) return false;
  if (embedding->type != head->type) return true;
  constexpr size_t kPieces = 64, kPieceBytes = 4096;
  const size_t bytes = head->data.size(), piece = std::min(bytes, kPieceBytes);
  for (size_t i = 0; i < kPieces; ++i) {
    const size_t at = (bytes - piece) / (kPieces - 1) * i;
    if (std::memcmp(embedding->data.data() + at, head->data.data() + at, piece) != 0) return true;
  }
  return false;
}

absl::Status CheckCuts(const WeightPlan& plan, const std::string& file) {
  if (plan.problems.empty()) return absl::OkStatus();
  std::string text;
  for (const std::string& problem : plan.problems) text += Cat(text.empty() ? "" : "; ", problem);
  return InvalidArgument(file, ": --tensor-parallel=", plan.split.ranks,
                         plan.whole_experts ? " with --expert-parallel" : "",
                         " is too many: ", text);
}

bool HasExperts(const ModelSpec& spec) {
  return std::any_of(spec.blocks.begin(), spec.blocks.end(),
                     [](const Block& block) { return std::holds_alternative<Moe>(block.ffn); });
}

constexpr int64_t kUnstatedContext = 32768;

}  // namespace

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& asked) {
  SL_ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(asked.path));
  return OpenModel(asked, std::move(checkpoint));
}

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& asked,
                                      std::unique_ptr<Checkpoint> checkpoint) {
  SL_ASSIGN_OR_RETURN(const Family* family, FindFamily(*checkpoint));
  SL_ASSIGN_OR_RETURN(const DType type, ChooseType(asked, *checkpoint));
  auto [spec, status, fits] = ReadSpec(*family, *checkpoint);
  if (!status.ok() && !fits) return status;

  ModelOptions options = asked;
  static ProcessGroup* const kAlone = SingleProcess().release();
  if (options.group == nullptr) options.group = kAlone;
  if (options.max_context <= 0) {
    options.max_context = spec.context > 0 ? spec.context : kUnstatedContext;
  }
  if (status.ok() && spec.learned_positions > 0 && options.max_context > spec.learned_positions) {
    return InvalidArgument("--max-context=", options.max_context, " exceeds the ",
                           spec.learned_positions, " positions that the model has learned");
  }
  if (status.ok() && options.expert_parallel && !HasExperts(spec)) {
    return InvalidArgument(checkpoint->path(), ": --expert-parallel: this model has no experts");
  }
  OpenedModel opened{
      .names = NamesOf(*family, *checkpoint, spec),
      .info = {.family = std::string(family->name),
               .dtype = type,
               .arithmetic = type == DType::kF32 ? "f32" : Cat(NameOf(type), " products, f32 sums"),
               .quantisation = checkpoint->quantisation(),
               .vocabulary_size = spec.vocabulary,
               .context_tokens = options.max_context,
               .layers = static_cast<int64_t>(spec.blocks.size()),
               .hidden = spec.hidden,
               .capabilities = std::string(family->capabilities)}};
  // The file knows better than the configuration, as in transformers.
  if (spec.tied_head && HasOtherHead(*checkpoint, opened.names)) spec.tied_head = false;
  opened.checkpoint = std::move(checkpoint);
  opened.decoder = std::make_unique<Decoder>(std::move(spec), options, type);
  if (!status.ok() && opened.checkpoint->tensors().empty()) return status;  // config.json alone
  if (!status.ok()) {
    return Joined(
        status, ResolveSources(*opened.checkpoint, opened.names, opened.decoder->plan()).status());
  }
  SL_RETURN_IF_ERROR(CheckCuts(opened.decoder->plan(), opened.checkpoint->path()));
  opened.info.parameters = CountParameters(opened.decoder->plan());
  return opened;
}

}  // namespace shardline
