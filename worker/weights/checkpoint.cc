// Opens a checkpoint of either format and lists its tensors.
#include "worker/weights/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "worker/weights/candle.h"
#include "worker/weights/float8.h"

namespace shardline {
namespace {

// Names are the file's: what is quantised is reported by them.
struct QuantisedType {
  GgmlType stored;
  StoredType type;
};
constexpr QuantisedType kQuantised[] = {
    {GgmlType::kQ4_0, StoredType::kQ4_0}, {GgmlType::kQ4_1, StoredType::kQ4_1},
    {GgmlType::kQ5_0, StoredType::kQ5_0}, {GgmlType::kQ5_1, StoredType::kQ5_1},
    {GgmlType::kQ8_0, StoredType::kQ8_0}, {GgmlType::kQ2_K, StoredType::kQ2_K},
    {GgmlType::kQ3_K, StoredType::kQ3_K}, {GgmlType::kQ4_K, StoredType::kQ4_K},
    {GgmlType::kQ5_K, StoredType::kQ5_K}, {GgmlType::kQ6_K, StoredType::kQ6_K}};

StoredType TypeOf(GgmlType type) {
  if (type == GgmlType::kF32) return StoredType::kF32;
  if (type == GgmlType::kF16) return StoredType::kF16;
  if (type == GgmlType::kBF16) return StoredType::kBF16;
  for (const QuantisedType& row : kQuantised) {
    if (row.stored == type) return row.type;
  }
  return StoredType::kOther;
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

// llama.cpp cuts large models so: each file has some of the tensors, the first alone the metadata.
absl::Status RefusePart(const GgufFile& file) {
  const int64_t parts = file.Int("split.count").value_or(0);
  if (parts <= 1) return absl::OkStatus();
  return InvalidArgument(file.path(), ": is one of ", parts,
                         " parts (split.count), which are not served: join them with "
                         "llama-gguf-split --merge");
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

void StoredTensor::Widen(int64_t row, int64_t first, int64_t count, DType out_type,
                         void* out) const {
  const StoredBlock block = BlockOf(type);
  const std::byte* in = Row(row) + first / block.elements * block.bytes;
  if (!scales) return Dequantize(type, in, count, out_type, out);
  auto* to = static_cast<std::byte*>(out);
  for (int64_t done = 0, run = 0; done < count; done += run) {
    const int64_t col = first + done;
    run = std::min(count - done, scales->cols - col % scales->cols);
    Dequantize(type, in + done, run, out_type, to + done * SizeOf(out_type), scales->At(row, col));
  }
}

float Scales::At(int64_t row, int64_t col) const {
  float scale = 0;
  const int64_t at = row / rows * stride + col / cols;
  Dequantize(type, data.data() + at * BlockOf(type).bytes, 1, DType::kF32, &scale);
  return scale;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t d = 0; d < shape.size(); ++d) out += Cat(d == 0 ? "" : ", ", shape[d]);
  return out + "]";
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
    SL_ASSIGN_OR_RETURN(const auto blocks, ReadQuantisation(*checkpoint->hf_));
    if (blocks) {
      const absl::Status scaled = AttachScales(*blocks, checkpoint->tensors_);
      if (!scaled.ok()) return Annotate(scaled, path);
    }
  } else {
    SL_ASSIGN_OR_RETURN(checkpoint->gguf_file_, GgufFile::Open(path));
    SL_RETURN_IF_ERROR(RefusePart(*checkpoint->gguf_file_));
    if (IsFromCandle(*checkpoint->gguf_file_)) {
      SL_ASSIGN_OR_RETURN(checkpoint->hf_, ConfigOfCandleFile(*checkpoint->gguf_file_));
    } else {
      checkpoint->gguf_config_ = std::make_unique<GgufConfig>(*checkpoint->gguf_file_);
    }
    for (const GgufTensor& t : checkpoint->gguf_file_->tensors()) {
      checkpoint->tensors_.push_back(
          {std::string(t.name), TypeOf(t.type), GgmlTypeName(t.type), t.shape, t.data});
    }
  }
  checkpoint->Index();
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::OpenConfig(const std::string& file) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = file;
  SL_ASSIGN_OR_RETURN(checkpoint->hf_, HfConfig::Open(file));
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (checkpoint->hf_->IsString(key, "float32")) checkpoint->main_type_ = StoredType::kF32;
    if (checkpoint->hf_->IsString(key, "float16")) checkpoint->main_type_ = StoredType::kF16;
    if (checkpoint->hf_->IsString(key, "bfloat16")) checkpoint->main_type_ = StoredType::kBF16;
  }
  SL_ASSIGN_OR_RETURN(const auto blocks, ReadQuantisation(*checkpoint->hf_));
  if (blocks) checkpoint->main_type_ = StoredType::kF8E4M3;
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
  for (const QuantisedType& row : kQuantised) {
    if (row.type == main_type_) return GgmlTypeName(row.stored);
  }
  return main_type_ == StoredType::kF8E4M3 ? "F8_E4M3" : "none";
}

}  // namespace shardline
