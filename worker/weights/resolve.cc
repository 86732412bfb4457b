// Matches slots with tensors.
#include "worker/weights/resolve.h"

#include <set>

namespace shardline {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t d = 0; d < shape.size(); ++d) out += Cat(d == 0 ? "" : ", ", shape[d]);
  return out + "]";
}

class Resolver {
 public:
  Resolver(const Checkpoint& checkpoint, const NameTable& names)
      : checkpoint_(checkpoint), names_(names) {}

  std::vector<Source> Parts(const std::vector<WeightSlot>& slots) {
    std::vector<Source> sources;
    for (size_t i = 0; i < slots.size(); ++i) sources.push_back(Find(slots, i));
    return sources;
  }

  absl::Status Finish() {
    std::vector<std::string> unused;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (!used_.contains(tensor.name) && !IsIgnored(names_, tensor.name)) {
        unused.push_back(tensor.name);
      }
    }
    std::string text;
    Append(text, "missing tensors: ", FoldNames(missing_));
    Append(text, "unused tensors: ", FoldNames(unused));
    Append(text, "wrong shapes: ", FoldNames(misshapen_));
    Append(text, "types that are not read (F32, F16, BF16, Q4_0 to Q8_0 and Q2_K to Q6_K are): ",
           FoldNames(unreadable_));
    if (text.empty()) return absl::OkStatus();
    return InvalidArgument(checkpoint_.path(), ": ", text);
  }

 private:
  static void Append(std::string& text, std::string_view title, const std::string& names) {
    if (!names.empty()) text += Cat(text.empty() ? "" : "; ", title, names);
  }

  MappedName NameOf(const WeightSlot& slot) const {
    return MapName(names_, slot.name, slot.expert.index);
  }

  // Parts whose names map to one tensor are its rows, one below the other; experts that share one
  // are its slices.
  Source Find(const std::vector<WeightSlot>& slots, size_t part) {
    const WeightSlot& slot = slots[part];
    const MappedName name = NameOf(slot);
    int64_t before = 0, rows = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      const bool shared = !name.tensor.empty() && NameOf(slots[i]).tensor == name.tensor;
      if (i != part && !shared) continue;
      if (i < part) before += slots[i].axes[0].size;
      rows += slots[i].axes[0].size;
    }
    std::vector<int64_t> shape{rows};
    for (size_t d = 1; d < slot.axes.size(); ++d) shape.push_back(slot.axes[d].size);
    const bool stacked = slot.expert.count > 0 && name.all_experts;
    if (stacked) shape.insert(shape.begin(), slot.expert.count);
    const bool first = before == 0 && (!stacked || slot.expert.index == 0);
    return {Check(slot, name.tensor, shape, first), name.order,
            before + (stacked ? slot.expert.index * rows : 0)};
  }

  // The tensor, or null. What is wrong with it is noted the first time that it is asked for.
  const StoredTensor* Check(const WeightSlot& slot, const std::string& name,
                            const std::vector<int64_t>& shape, bool first) {
    const StoredTensor* tensor = checkpoint_.Find(name);
    if (tensor != nullptr) used_.insert(tensor->name);
    if (!first) return tensor;
    if (tensor == nullptr) {
      missing_.push_back(name.empty() ? Cat("(no name for ", slot.name, ")") : name);
      return tensor;
    }
    if (tensor->shape != shape) {
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
  std::set<std::string_view> used_;
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
  SL_RETURN_IF_ERROR(resolver.Finish());
  return sources;
}

}  // namespace shardline
