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

  static void AddOnce(std::vector<std::string>& names, std::string name) {
    if (names.empty() || names.back() != name) names.push_back(std::move(name));
  }

  std::string TensorOf(const MappedName& name) const {
    const bool joined = checkpoint_.Find(name.tensor) == nullptr && !name.joined.empty() &&
                        checkpoint_.Find(name.joined) != nullptr;
    return joined ? name.joined : name.tensor;
  }

  // Parts that are in one tensor are its rows, one below the other; they follow each other and say
  // the same of it.
  Source Find(const std::vector<WeightSlot>& slots, size_t part) {
    const WeightSlot& slot = slots[part];
    const MappedName name = MapName(names_, slot.name);
    const std::string found = TensorOf(name);
    int64_t first_row = 0, rows = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (i != part && (found.empty() || TensorOf(MapName(names_, slots[i].name)) != found)) {
        continue;
      }
      if (i < part) first_row += slots[i].axes[0].size;
      rows += slots[i].axes[0].size;
    }
    const Source source{checkpoint_.Find(found), name.order, first_row};
    if (source.tensor == nullptr) {
      AddOnce(missing_, found.empty() ? Cat("(no name for ", slot.name, ")") : found);
      return {};
    }
    std::vector<int64_t> shape;
    for (const Axis& axis : slot.axes) shape.push_back(axis.size);
    shape[0] = rows;
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
