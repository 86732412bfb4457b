#include "tools/cli/model_file.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "shared/format/gguf.h"
#include "shared/format/safetensors.h"
#include "tools/cli/input.h"
#include "tools/cli/json.h"

namespace shardline::cli {
namespace {

using Json = nlohmann::ordered_json;

// Shapes were checked against the data's size, so that the product does not overflow.
uint64_t Elements(const std::vector<int64_t>& shape) {
  uint64_t product = 1;
  for (const int64_t dim : shape) product *= static_cast<uint64_t>(dim);
  return product;
}

// A float that was widened to double reads as the float's shortest decimal: 1e-05.
double Shortest(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  return std::strtod(Cat(narrow).c_str(), nullptr);
}

Json ToJson(const GgufArray& array) {
  switch (array.kind) {
    case GgufArray::Kind::kInt:
      return array.ints;
    case GgufArray::Kind::kUint:
      return array.uints;
    case GgufArray::Kind::kFloat:
      return array.floats;
    case GgufArray::Kind::kBool: {
      Json values = Json::array();
      for (const uint64_t value : array.uints) values.push_back(value != 0);
      return values;
    }
    case GgufArray::Kind::kString:
      return array.strings;
    case GgufArray::Kind::kArray:
      break;
  }
  return Cat(array.size, " arrays");
}

Json ToJson(const GgufValue& value) {
  return std::visit(
      [](const auto& held) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, GgufArray>) {
          return ToJson(held);
        } else if constexpr (std::is_same_v<std::decay_t<decltype(held)>, double>) {
          return Shortest(held);
        } else {
          return held;
        }
      },
      value);
}

absl::StatusOr<ModelFile> ReadGguf(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  ModelFile model{.format = "GGUF", .metadata = Json::object()};
  for (const auto& [key, value] : file->metadata()) {
    model.metadata[std::string(key)] = ToJson(value);
  }
  for (const GgufTensor& tensor : file->tensors()) {
    model.tensors.push_back({std::string(tensor.name), GgmlTypeName(tensor.type), tensor.shape,
                             Elements(tensor.shape), tensor.data.size()});
  }
  return model;
}

void AddTensors(const SafetensorsCheckpoint& checkpoint, ModelFile& model) {
  for (const SafetensorsTensor& tensor : checkpoint.tensors()) {
    model.tensors.push_back(
        {tensor.name, tensor.type_name, tensor.shape, Elements(tensor.shape), tensor.data.size()});
  }
}

// The header's __metadata__, of a file that has been read as safetensors.
Json HeaderMetadata(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return Json::object();
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > bytes.size() - sizeof(length)) return Json::object();
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof(length),
                                length);
  // Tensors are dropped while they are read.
  Json kept = Json::parse(
      header,
      [](int depth, Json::parse_event_t event, Json& parsed) {
        return depth != 1 || event != Json::parse_event_t::key || parsed == "__metadata__";
      },
      /*allow_exceptions=*/false);
  return kept.is_object() ? kept.value("__metadata__", Json::object()) : Json::object();
}

absl::StatusOr<ModelFile> ReadSafetensors(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  SL_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsCheckpoint> checkpoint,
                      SafetensorsCheckpoint::Parse(file.bytes(), path));
  ModelFile model{.format = "safetensors", .metadata = HeaderMetadata(file.bytes())};
  AddTensors(*checkpoint, model);
  return model;
}

absl::StatusOr<ModelFile> ReadDirectory(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsCheckpoint> checkpoint,
                      SafetensorsCheckpoint::Open(path));
  ModelFile model{.format = "safetensors", .metadata = Json::object()};
  AddTensors(*checkpoint, model);
  const std::string config = path + "/config.json";
  std::error_code error;
  if (!std::filesystem::exists(config, error)) return model;
  SL_ASSIGN_OR_RETURN(const std::string text, ReadFile(config));
  model.metadata = ParseJson(text);
  if (!model.metadata.is_object()) return InvalidArgument(config, ": not a JSON object");
  return model;
}

}  // namespace

absl::StatusOr<ModelFile> ReadModelFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return ReadDirectory(path);
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".safetensors") return ReadSafetensors(path);
  if (extension == ".gguf") return ReadGguf(path);
  SL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0) {
    return ReadGguf(path);
  }
  return InvalidArgument(path,
                         ": neither a GGUF file, a .safetensors file nor a directory of them");
}

}  // namespace shardline::cli
