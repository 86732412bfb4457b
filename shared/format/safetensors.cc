// Opens a safetensors checkpoint: header → entries → spans of the mapping, for one file or for the
// shards that an index names.
#include "shared/format/safetensors.h"

#include <absl/strings/string_view.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "shared/base/quoted.h"
#include "shared/format/safetensors_header.h"

namespace shardline {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own limit
constexpr size_t kMaxFiles = 4096;

struct TypeRow {
  std::string_view name;
  SafetensorsType type;
  uint64_t bytes;
};
using Type = SafetensorsType;
constexpr TypeRow kTypes[] = {
    {"F64", Type::kF64, 8},       {"F32", Type::kF32, 4},       {"F16", Type::kF16, 2},
    {"BF16", Type::kBF16, 2},     {"I64", Type::kI64, 8},       {"I32", Type::kI32, 4},
    {"I16", Type::kI16, 2},       {"I8", Type::kI8, 1},         {"U8", Type::kU8, 1},
    {"BOOL", Type::kBool, 1},     {"U16", Type::kOther, 2},     {"U32", Type::kOther, 4},
    {"U64", Type::kOther, 8},     {"F8_E4M3", Type::kOther, 1}, {"F8_E5M2", Type::kOther, 1},
    {"F8_E8M0", Type::kOther, 1}, {"C64", Type::kOther, 8},
};

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

// Bytes of a tensor, from its type and shape.
absl::StatusOr<uint64_t> TensorBytes(const SafetensorsEntry& entry, const TypeRow& row) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t bytes = row.bytes;
  for (const int64_t dim : entry.shape) {
    if (dim != 0 && bytes > kMax / static_cast<uint64_t>(dim)) {
      return InvalidArgument("the size of its shape overflows");
    }
    bytes *= static_cast<uint64_t>(dim);
  }
  return bytes;
}

absl::StatusOr<SafetensorsTensor> Place(const SafetensorsEntry& entry,
                                        std::span<const std::byte> data) {
  const auto row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [&](const TypeRow& known) { return known.name == entry.dtype; });
  if (row == std::end(kTypes)) return InvalidArgument("unknown dtype ", Quoted(entry.dtype, 40));
  SL_ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(entry, *row));
  if (entry.begin > entry.end || entry.end > data.size()) {
    return InvalidArgument("data_offsets [", entry.begin, ", ", entry.end,
                           "] are not inside the data section of ", data.size(), " bytes");
  }
  if (entry.end - entry.begin != bytes) {
    return InvalidArgument("data_offsets span ", entry.end - entry.begin,
                           " bytes, its dtype and shape need ", bytes);
  }
  return SafetensorsTensor{entry.name, row->type, entry.dtype, entry.shape,
                           data.subspan(entry.begin, bytes)};
}

// The format allows neither overlap nor holes: sorted by offset, the tensors tile the data section.
absl::Status CheckTiling(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  std::vector<const SafetensorsEntry*> order;
  order.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t covered = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin != covered) {
      return InvalidArgument("tensor ", Quoted(entry->name), ": data_offsets begin at ",
                             entry->begin, ", the tensor before it ends at ", covered,
                             entry->begin < covered ? " (overlap)" : " (hole)");
    }
    covered = entry->end;
  }
  if (covered != data_bytes) {
    return InvalidArgument("its tensors end at ", covered, ", its data section at ", data_bytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SafetensorsTensor>> ReadFile(std::span<const std::byte> bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) return InvalidArgument("truncated: no header length");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    return InvalidArgument("header of ", header_bytes, " bytes is larger than ", kMaxHeaderBytes);
  }
  const std::span<const std::byte> rest = bytes.subspan(sizeof(header_bytes));
  if (header_bytes > rest.size()) {
    return InvalidArgument("truncated: header of ", header_bytes, " bytes, the file has ",
                           rest.size(), " left");
  }
  const std::string_view json(reinterpret_cast<const char*>(rest.data()), header_bytes);
  if (json.empty() || json[0] != '{') return InvalidArgument("the header does not start with '{'");
  SL_ASSIGN_OR_RETURN(std::vector<SafetensorsEntry> entries, ReadSafetensorsHeader(json));
  const std::span<const std::byte> data = rest.subspan(header_bytes);
  std::vector<SafetensorsTensor> tensors;
  tensors.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) {
    absl::StatusOr<SafetensorsTensor> tensor = Place(entry, data);
    if (!tensor.ok()) return Annotate(tensor.status(), Cat("tensor ", Quoted(entry.name)));
    tensors.push_back(*std::move(tensor));
  }
  SL_RETURN_IF_ERROR(CheckTiling(entries, data.size()));
  return tensors;
}

// A shard's name is a plain file name: an index must not reach outside its directory, nor write
// more than a line into an error.
absl::Status CheckFileName(std::string_view file) {
  const bool odd = std::any_of(file.begin(), file.end(), [](unsigned char c) {
    return c < 0x20 || c == 0x7f || c == '/' || c == '\\';
  });
  if (odd || file.empty() || file == "." || file == "..") {
    return InvalidArgument("weight_map: ", Quoted(file), " is not a plain file name");
  }
  return absl::OkStatus();
}

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

absl::Status SafetensorsCheckpoint::AddFile(std::span<const std::byte> bytes,
                                            const std::string& name) {
  absl::StatusOr<std::vector<SafetensorsTensor>> tensors = ReadFile(bytes);
  if (!tensors.ok()) return Annotate(tensors.status(), name);
  for (SafetensorsTensor& tensor : *tensors) {
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      return InvalidArgument(name, ": tensor ", Quoted(tensor.name), " is in another shard too");
    }
    tensors_.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsCheckpoint::OpenShards(const std::string& directory,
                                               const std::string& index_path) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  SL_ASSIGN_OR_RETURN(const MappedFile index, MappedFile::Open(index_path));
  const absl::StatusOr<Pairs> weight_map = ReadSafetensorsIndex(Text(index.bytes()));
  if (!weight_map.ok()) return Annotate(weight_map.status(), index_path);
  absl::flat_hash_map<std::string, std::string> file_of;  // by tensor
  std::vector<std::string> names;                         // of files, each once, in order
  for (const auto& [tensor, file] : *weight_map) {
    if (absl::Status status = CheckFileName(file); !status.ok())
      return Annotate(status, index_path);
    file_of.emplace(tensor, file);
    names.push_back(file);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > kMaxFiles) {
    return InvalidArgument(index_path, ": names ", names.size(), " files, more than ", kMaxFiles);
  }
  for (const std::string& file : names) {
    const std::string path = Cat(directory, "/", file);
    SL_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
    const size_t first = tensors_.size();
    SL_RETURN_IF_ERROR(AddFile(mapped.bytes(), path));
    for (size_t i = first; i < tensors_.size(); ++i) {
      const auto named = file_of.find(tensors_[i].name);
      if (named == file_of.end() || named->second != file) {
        return InvalidArgument(path, ": tensor ", Quoted(tensors_[i].name),
                               " is not named for this file by ", index_path);
      }
    }
    files_.push_back(std::move(mapped));
  }
  for (const auto& [tensor, file] : *weight_map) {
    if (Find(tensor) == nullptr) {
      return InvalidArgument(directory, "/", file, ": lacks tensor ", Quoted(tensor),
                             " that the index says it has");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SafetensorsCheckpoint>> SafetensorsCheckpoint::Open(
    const std::string& directory) {
  std::unique_ptr<SafetensorsCheckpoint> checkpoint(new SafetensorsCheckpoint);
  const std::string single = directory + "/model.safetensors";
  const std::string index = directory + "/model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    SL_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(single));
    SL_RETURN_IF_ERROR(checkpoint->AddFile(mapped.bytes(), single));
    checkpoint->files_.push_back(std::move(mapped));
  } else if (std::filesystem::exists(index, ignored)) {
    SL_RETURN_IF_ERROR(checkpoint->OpenShards(directory, index));
  } else {
    return NotFound(directory, ": has neither model.safetensors nor model.safetensors.index.json");
  }
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<SafetensorsCheckpoint>> SafetensorsCheckpoint::Parse(
    std::span<const std::byte> bytes, std::string name) {
  std::unique_ptr<SafetensorsCheckpoint> checkpoint(new SafetensorsCheckpoint);
  SL_RETURN_IF_ERROR(checkpoint->AddFile(bytes, name));
  return checkpoint;
}

const SafetensorsTensor* SafetensorsCheckpoint::Find(std::string_view name) const {
  const auto found = index_.find(Absl(name));
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace shardline
