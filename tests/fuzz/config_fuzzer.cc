// A model's configuration on its way to a spec: config.json beside a tiny model's weights, or a
// whole GGUF file. Loading must end in a model or in a one-line error.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kernels/ops.h"
#include "tests/fuzz/mutate.h"
#include "worker/models/model.h"

namespace shardline {
namespace {

// A folder with the tiny Llama's weights, for the life of the process.
class Folder {
 public:
  Folder()
      : path_(Cat(std::filesystem::temp_directory_path().string(), "/config_fuzzer.", getpid())) {
    std::filesystem::create_directories(path_);
    std::filesystem::copy_file(SHARDLINE_SOURCE_DIR "/tests/golden/llama/model.safetensors",
                               Cat(path_, "/model.safetensors"),
                               std::filesystem::copy_options::overwrite_existing);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  // The model's path when `data` is its configuration, or all of it.
  std::string Write(std::string_view data) const {
    const bool gguf = data.starts_with("GGUF");
    const std::string file = Cat(path_, gguf ? "/model.gguf" : "/config.json");
    std::ofstream(file, std::ios::binary)
        .write(data.data(), static_cast<std::streamsize>(data.size()));
    return gguf ? file : path_;
  }

 private:
  std::string path_;
};

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const shardline::Folder folder;
  shardline::ModelOptions options;
  options.path = folder.Write({reinterpret_cast<const char*>(data), size});
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
