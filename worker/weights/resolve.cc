// Matches slots with tensors.
#include "worker/weights/resolve.h"

#include <map>
#include <set>

namespace shardline {
namespace {

class Resolver {
 public:
  Resolver(const Checkpoint& checkpoint, const NameTable& names)
      : checkpoint_(checkpoint), names_(names) {}

  // Parts in one tensor say the same of it.
  std::vector<Source> Parts(const std::vector<WeightSlot>& slots) {
    std::vector<MappedName> names;
    std::map<std::string, int64_t> rows, before;  // of a tensor's parts: all, and those seen
    for (const WeightSlot& slot : slots) {
      names.push_back(Stored(slot));
      rows[names.back().tensor] += slot.axes[0].size;
    }
    std::vector<Source> sources;
    for (size_t i = 0; i < slots.size(); ++i) {
      const std::string& tensor = names[i].tensor;
      if (names[i].fusion == Fusion::kByExpert || names[i].fusion == Fusion::kByExpertTransposed) {
        sources.push_back(OfExpert(slots[i], names[i]));
        continue;
      }
      const int64_t groups =
          names[i].fusion == Fusion::kByGroup ? slots[1].axes[0].size / slots[1].head_dim : 1;
      const int64_t run = slots[i].axes[0].size / groups;
      const bool all_experts = slots[i].expert.count > 0 && !names[i].one_expert;
      const int64_t experts_before = all_experts ? slots[i].expert.index * rows[tensor] : 0;
      sources.push_back({.tensor = Find(slots[i], tensor, rows[tensor], all_experts),
                         .order = names[i].order,
                         .first = experts_before + before[tensor],
                         .run = run,
                         .stride = rows[tensor] / groups});
      before[tensor] += run;
    }
    return sources;
  }

  absl::Status Finish() {
    std::vector<std::string> unused;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (!asked_.contains(tensor.name) && !IsIgnored(names_, tensor.name)) {
        unused.push_back(tensor.name);
      }
    }
    std::string text;
    Append(text, "missing tensors: ", FoldNames(missing_));
    Append(text, "unused tensors: ", FoldNames(unused));
    Append(text, "wrong shapes: ", FoldNames(misshapen_));
    Append(text,
           Cat("types that are not read (F32, F16, BF16, scaled F8_E4M3, ", kGgufQuantisations,
               " are): "),
           FoldNames(unreadable_));
    if (text.empty()) return absl::OkStatus();
    return InvalidArgument(checkpoint_.path(), ": ", text);
  }

 private:
  static void Append(std::string& text, std::string_view title, const std::string& names) {
    if (!names.empty()) text += Cat(text.empty() ? "" : "; ", title, names);
  }

  MappedName Stored(const WeightSlot& slot) const {
    MappedName name = MapName(names_, slot.name, slot.expert.index);
    const bool own = checkpoint_.Find(name.tensor) != nullptr || name.joined.empty();
    if (!own && (name.tensor.empty() || checkpoint_.Find(name.joined) != nullptr)) {
      name.tensor = name.joined;
      name.one_expert = name.joined_one_expert;
    } else if (name.fusion == Fusion::kByExpert || name.fusion == Fusion::kByExpertTransposed) {
      name.fusion = Fusion::kStacked;
    }
    return name;
  }

  // In a tensor of all experts' rows, one below the other, that holds other slots too.
  Source OfExpert(const WeightSlot& slot, const MappedName& name) {
    const bool transposed = name.fusion == Fusion::kByExpertTransposed;
    WeightSlot stored = slot;
    if (transposed) std::swap(stored.axes[0], stored.axes[1]);
    const ExpertPlace& place = slot.expert;
    return {.tensor = Find(stored, name.tensor, place.count * place.rows, /*all_experts=*/false),
            .first = place.index * place.rows + place.first,
            .run = stored.axes[0].size,
            .stride = stored.axes[0].size,
            .transposed = transposed};
  }

  // The tensor, or null; what is wrong with it is noted once. `rows`: of the tensor, or of each
  // expert in it; norms of heads, one below the other, are a matrix of as many elements,
  // and a matrix of one row may be a vector.
  const StoredTensor* Find(const WeightSlot& slot, const std::string& name, int64_t rows,
                           bool all_experts) {
    const StoredTensor* tensor = checkpoint_.Find(name);
    if (!asked_.insert(name).second && !name.empty()) return tensor;
    if (tensor == nullptr) {
      missing_.push_back(name.empty() ? Cat("(no name for ", slot.name, ")") : name);
      return nullptr;
    }
    std::vector<int64_t> shape{rows};
    for (size_t d = 1; d < slot.axes.size(); ++d) shape.push_back(slot.axes[d].size);
    const bool rows_of_heads =
        slot.axes.size() == 1 && rows >= slot.axes[0].size &&
        tensor->shape == std::vector{rows / slot.axes[0].size, slot.axes[0].size};
    if (all_experts) shape.insert(shape.begin(), slot.expert.count);
    const bool one_row = shape.size() == 2 && rows == 1 && tensor->shape == std::vector{shape[1]};
    // Filters of single channels, [channels, 1, taps], are a matrix.
    const bool filters = tensor->shape.size() == 3 && tensor->shape[1] == 1 &&
                         shape == std::vector{tensor->shape[0], tensor->shape[2]};
    if (tensor->shape != shape && !rows_of_heads && !one_row && !filters) {
      misshapen_.push_back(
          Cat(tensor->name, " is ", ShapeText(tensor->shape), ", not ", ShapeText(shape)));
    }
    if (tensor->type == StoredType::kOther) {
      unreadable_.push_back(Cat(tensor->name, " is ", tensor->type_name));
    }
    return tensor;
  }

  const Checkpoint& checkpoint_;
  const NameTable& names_;
  std::set<std::string, std::less<>> asked_;
  std::vector<std::string> missing_, misshapen_, unreadable_;
};

}  // namespace

absl::StatusOr<Sources> ResolveSources(const Checkpoint& checkpoint, const NameTable& names,
                                       const WeightPlan& plan) {
  Resolver resolver(checkpoint, names);
  Sources sources;
  for (const MatrixTarget& target : plan.matrices) {
    sources.matrices.push_back(resolver.Parts(target.parts));
  }
  for (const VectorTarget& target : plan.vectors) {
    sources.vectors.push_back(resolver.Parts(target.parts));
  }
  for (const std::vector<WeightSlot>& parts : plan.elsewhere) resolver.Parts(parts);
  SL_RETURN_IF_ERROR(resolver.Finish());
  return sources;
}

}  // namespace shardline
