// Which modules are quantised is not read from the configuration: the files' types tell.
#include "worker/weights/float8.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr std::string_view kKey = "quantization_config";
constexpr double kMostBlock = 1 << 20;
constexpr std::string_view kFloat8 = "F8_E4M3";

std::string Under(std::string_view key) { return Cat(kKey, ".", key); }

void RefuseMethod(HfConfig& config, std::string_view method, std::string_view why = {}) {
  config.Refuse(Under("quant_method"),
                Cat(Quoted(method, 40), why,
                    " is not read: fp8, fbgemm_fp8 and compressed-tensors with floats of eight "
                    "bits are; otherwise give the unquantised checkpoint or a GGUF file"));
}

// A list of two sizes, null or absent.
void ReadBlocks(HfConfig& config, const std::string& key, ScaleBlocks& blocks) {
  const std::vector<double> sizes = config.Floats(key);
  if (sizes.empty()) return;
  const bool whole = std::all_of(sizes.begin(), sizes.end(), [](double size) {
    return size >= 1 && size <= kMostBlock && size == std::floor(size);
  });
  if (sizes.size() != 2 || !whole) {
    config.Refuse(key, "is not a list of two sizes");
    return;
  }
  const ScaleBlocks read{static_cast<int64_t>(sizes[0]), static_cast<int64_t>(sizes[1])};
  if (blocks.rows > 0 && (blocks.rows != read.rows || blocks.cols != read.cols)) {
    config.Refuse(key, "is not the one of the group before it");
  }
  blocks = read;
}

void ReadCompressedTensors(HfConfig& config, const std::string& method, ScaleBlocks& blocks) {
  for (const std::string& group : config.Keys(Under("config_groups"))) {
    const std::string weights = Under(Cat("config_groups.", group, ".weights."));
    const int64_t bits = config.Int(weights + "num_bits", 0, 64, 0);
    if (!config.IsString(weights + "type", "float") || bits != 8) {
      return RefuseMethod(config, method, " with other weights");
    }
    ReadBlocks(config, weights + "block_structure", blocks);
  }
  if (!config.Keys(Under("transform_config.config_groups")).empty()) {
    RefuseMethod(config, method, " with transforms");
  }
}

int64_t Blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

absl::StatusOr<Scales> ScalesOf(const StoredTensor& tensor, const StoredTensor& scale,
                                const ScaleBlocks& blocks) {
  if (scale.type != StoredType::kF32 && scale.type != StoredType::kF16 &&
      scale.type != StoredType::kBF16) {
    return InvalidArgument("types that are not read: ", scale.name, " is ", scale.type_name);
  }
  using Shape = std::vector<int64_t>;
  const int64_t rows = tensor.rows(), cols = tensor.cols();
  Scales scales{.type = scale.type, .data = scale.data};
  std::string expected = Cat("one number or [", rows, ", 1]");
  if (blocks.rows > 0) {
    const Shape shape{Blocks(rows, blocks.rows), Blocks(cols, blocks.cols)};
    if (scale.shape == shape) {
      scales.rows = blocks.rows, scales.cols = blocks.cols, scales.stride = shape[1];
      return scales;
    }
    expected = Cat(ShapeText(shape), ", ", expected);
  }
  scales.cols = std::max<int64_t>(1, cols), scales.stride = 1;
  if (scale.elements() == 1) {
    scales.rows = std::max<int64_t>(1, rows);
  } else if (scale.shape == Shape{rows} || scale.shape == Shape{rows, 1}) {
    scales.rows = 1;
  } else {
    return InvalidArgument("wrong shapes: ", scale.name, " is ", ShapeText(scale.shape), ", not ",
                           expected);
  }
  return scales;
}

// Of activations and of the cache.
bool IsOtherScale(std::string_view name) {
  constexpr std::string_view kEnds[] = {".input_scale", ".activation_scale", ".output_scale",
                                        ".q_scale",     ".k_scale",          ".v_scale"};
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return name.ends_with(end); });
}

}  // namespace

absl::StatusOr<std::optional<ScaleBlocks>> ReadQuantisation(HfConfig& config) {
  if (!config.Has(kKey)) return std::nullopt;
  const std::string method = config.String(Under("quant_method"));
  ScaleBlocks blocks;
  if (method == "fp8") {
    ReadBlocks(config, Under("weight_block_size"), blocks);
  } else if (method == "compressed-tensors") {
    ReadCompressedTensors(config, method, blocks);
  } else if (method != "fbgemm_fp8" && config.IsString(Under("quant_method"))) {
    RefuseMethod(config, method);
  }
  SL_RETURN_IF_ERROR(config.status());
  return blocks;
}

absl::Status AttachScales(const ScaleBlocks& blocks, std::vector<StoredTensor>& tensors) {
  std::map<std::string_view, const StoredTensor*> by_name;
  for (const StoredTensor& tensor : tensors) by_name.emplace(tensor.name, &tensor);
  std::set<std::string> read;
  for (StoredTensor& tensor : tensors) {
    if (tensor.type_name != kFloat8) continue;
    auto scale = by_name.find(tensor.name + "_scale_inv");
    if (scale == by_name.end()) scale = by_name.find(tensor.name + "_scale");
    if (scale == by_name.end() || tensor.shape.size() > 2) {
      tensor.type_name += " without scales";
      continue;
    }
    SL_ASSIGN_OR_RETURN(tensor.scales, ScalesOf(tensor, *scale->second, blocks));
    tensor.type = StoredType::kF8E4M3;
    read.insert(scale->second->name);
  }
  std::erase_if(tensors, [&](const StoredTensor& tensor) {
    return read.contains(tensor.name) || IsOtherScale(tensor.name);
  });
  return absl::OkStatus();
}

}  // namespace shardline
