// A model's configuration on its way to a spec: config.json beside a tiny model's weights, or a
// whole GGUF file. Loading must end in a model or in a one-line error.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "kernels/ops.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/mutate.h"
#include "worker/models/model.h"

namespace shardline {
namespace {

// With the tiny Llama's weights beside the configuration.
const fuzz::Folder& ModelFolder() {
  static const fuzz::Folder folder("config_fuzzer");
  static const bool copied = std::filesystem::copy_file(
      SHARDLINE_SOURCE_DIR "/tests/golden/llama/model.safetensors",
      Cat(folder.path(), "/model.safetensors"), std::filesystem::copy_options::overwrite_existing);
  if (!copied) std::abort();
  return folder;
}

// The model's path when `data` is its configuration, or all of it.
std::string PathOf(std::string_view data) {
  const fuzz::Folder& folder = ModelFolder();
  if (data.starts_with("GGUF")) return folder.Write("model.gguf", data);
  folder.Write("config.json", data);
  return folder.path();
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  shardline::ModelOptions options;
  options.path = shardline::PathOf({reinterpret_cast<const char*>(data), size});
  options.ops = &shardline::CpuOps();
  options.max_batch_tokens = 8;
  const auto model = shardline::Model::Load(options, nullptr);
  if (!model.ok() && shardline::Message(model.status()).empty()) std::abort();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  const bool gguf = std::string_view(reinterpret_cast<const char*>(data), size).starts_with("GGUF");
  return shardline::fuzz::Apply(gguf ? shardline::fuzz::MutateGguf : shardline::fuzz::MutateJson,
                                data, size, max_size, seed);
}
