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
    int64_t rows = 0;  // of all slots, and of those before one
    for (const WeightSlot& slot : slots) rows += slot.axes[0].size;
    int64_t first_row = 0;
    for (const WeightSlot& slot : slots) {
      sources.push_back(Find(slot, first_row, rows));
      first_row += slot.axes[0].size;
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

  // The slots of a joined tensor follow each other and say the same of it.
  static void AddOnce(std::vector<std::string>& names, std::string name) {
    if (names.empty() || names.back() != name) names.push_back(std::move(name));
  }

  // `first_row` and `joined_rows`: where the slot's rows begin in a tensor of all slots of its
  // product, and how many rows that tensor has.
  Source Find(const WeightSlot& slot, int64_t first_row, int64_t joined_rows) {
    const MappedName name = MapName(names_, slot.name);
    std::vector<int64_t> shape;
    for (const Axis& axis : slot.axes) shape.push_back(axis.size);
    Source source{checkpoint_.Find(name.tensor), name.order};
    if (source.tensor == nullptr && !name.joined.empty()) {
      source = {checkpoint_.Find(name.joined), name.order, first_row};
      shape[0] = joined_rows;
    }
    if (source.tensor == nullptr) {
      missing_.push_back(name.tensor.empty() ? Cat("(no name for ", slot.name, ")") : name.tensor);
      return {};
    }
    const StoredTensor& tensor = *source.tensor;
    used_.insert(tensor.name);
    if (tensor.shape != shape) {
      AddOnce(misshapen_,
              Cat(tensor.name, " is ", ShapeText(tensor.shape), ", not ", ShapeText(shape)));
    }
    if (tensor.type == StoredType::kOther) {
      AddOnce(unreadable_, Cat(tensor.name, " is ", tensor.type_name));
    }
    return source;
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
