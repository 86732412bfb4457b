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
    int64_t total = 0, first = 0;
    for (const WeightSlot& slot : slots) total += slot.axes[0].size;
    for (const WeightSlot& slot : slots) {
      const MappedName name = MapName(names_, slot.name);
      const int64_t size = slot.axes[0].size;
      Source source{.order = name.order, .run = size, .stride = size};
      int64_t rows = size;
      if (name.fusion != Fusion::kNone) {
        const int64_t groups =
            name.fusion == Fusion::kByGroup ? slots[1].axes[0].size / slots[1].head_dim : 1;
        source = {
            .order = name.order, .first = first, .run = size / groups, .stride = total / groups};
        first += source.run;
        rows = total;
      }
      source.tensor = Find(slot, name, rows);
      sources.push_back(source);
    }
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

  // `rows`: of the tensor; norms of heads, one below the other, are a matrix of as many elements.
  const StoredTensor* Find(const WeightSlot& slot, const MappedName& name, int64_t rows) {
    const StoredTensor* tensor = checkpoint_.Find(name.tensor);
    if (tensor == nullptr) {
      std::string missing =
          name.tensor.empty() ? Cat("(no name for ", slot.name, ")") : name.tensor;
      if (missing_.empty() || missing_.back() != missing) missing_.push_back(std::move(missing));
      return nullptr;
    }
    const bool first_use = used_.insert(tensor->name).second;
    if (!first_use) return tensor;  // judged already
    std::vector<int64_t> shape;
    for (const Axis& axis : slot.axes) shape.push_back(axis.size);
    shape[0] = rows;
    const bool rows_of_heads =
        slot.axes.size() == 1 && rows > slot.axes[0].size &&
        tensor->shape == std::vector{rows / slot.axes[0].size, slot.axes[0].size};
    if (tensor->shape != shape && !rows_of_heads) {
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
