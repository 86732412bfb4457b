// Opens a checkpoint of either format and lists its tensors.
#include "worker/weights/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>

namespace shardline {
namespace {

StoredType TypeOf(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return StoredType::kF32;
    case GgmlType::kF16:
      return StoredType::kF16;
    case GgmlType::kBF16:
      return StoredType::kBF16;
    case GgmlType::kQ4_0:
      return StoredType::kQ4_0;
    case GgmlType::kQ4_1:
      return StoredType::kQ4_1;
    case GgmlType::kQ8_0:
      return StoredType::kQ8_0;
    default:
      return StoredType::kOther;
  }
}

StoredType TypeOf(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::kF32:
      return StoredType::kF32;
    case SafetensorsType::kF16:
      return StoredType::kF16;
    case SafetensorsType::kBF16:
      return StoredType::kBF16;
    default:
      return StoredType::kOther;
  }
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

int64_t StoredTensor::elements() const {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

int64_t StoredTensor::rows() const {
  int64_t n = 1;
  for (size_t d = 0; d + 1 < shape.size(); ++d) n *= shape[d];
  return n;
}

const std::byte* StoredTensor::Row(int64_t row) const {
  const StoredBlock block = BlockOf(type);
  return data.data() + row * (cols() / block.elements) * block.bytes;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = path;
  if (IsDirectory(path)) {
    SL_ASSIGN_OR_RETURN(checkpoint->hf_, HfConfig::Open(Cat(path, "/config.json")));
    SL_ASSIGN_OR_RETURN(checkpoint->safetensors_, SafetensorsCheckpoint::Open(path));
    for (const SafetensorsTensor& t : checkpoint->safetensors_->tensors()) {
      checkpoint->tensors_.push_back({t.name, TypeOf(t.type), t.type_name, t.shape, t.data});
    }
  } else {
    SL_ASSIGN_OR_RETURN(checkpoint->gguf_file_, GgufFile::Open(path));
    checkpoint->gguf_config_ = std::make_unique<GgufConfig>(*checkpoint->gguf_file_);
    for (const GgufTensor& t : checkpoint->gguf_file_->tensors()) {
      checkpoint->tensors_.push_back(
          {std::string(t.name), TypeOf(t.type), GgmlTypeName(t.type), t.shape, t.data});
    }
  }
  checkpoint->Index();
  return checkpoint;
}

void Checkpoint::Index() {
  std::sort(tensors_.begin(), tensors_.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  std::map<StoredType, int64_t> elements;
  for (const StoredTensor& tensor : tensors_) elements[tensor.type] += tensor.elements();
  int64_t most = -1;
  for (const auto& [type, count] : elements) {
    if (count > most) main_type_ = type, most = count;
  }
}

const StoredTensor* Checkpoint::Find(std::string_view name) const {
  const auto it =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const StoredTensor& t, std::string_view n) { return t.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

std::string Checkpoint::quantisation() const {
  switch (main_type_) {
    case StoredType::kQ4_0:
      return "Q4_0";
    case StoredType::kQ4_1:
      return "Q4_1";
    case StoredType::kQ8_0:
      return "Q8_0";
    default:
      return "none";
  }
}

}  // namespace shardline
