// Any bytes as a safetensors file, and as the JSON header of one with some data behind it: parsing
// must end in tensors that can all be read, or in a one-line error.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "shared/format/safetensors.h"
#include "shared/format/safetensors_header.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/mutate.h"

namespace shardline {
namespace {

void CheckError(const absl::Status& status) {
  if (Message(status).find('\n') != std::string::npos) std::abort();
}

void Check(std::span<const std::byte> bytes) {
  const auto file = SafetensorsCheckpoint::Parse(bytes, "fuzz");
  if (!file.ok()) return CheckError(file.status());
  unsigned sum = 0;
  for (const SafetensorsTensor& tensor : (*file)->tensors()) {
    if ((*file)->Find(tensor.name) != &tensor) std::abort();
    for (const std::byte value : tensor.data) sum += static_cast<unsigned>(value);
  }
  volatile unsigned keep = sum;
  static_cast<void>(keep);
}

// A file of no more than one tensor of four bytes.
std::string Shard(std::string_view tensor) {
  const std::string header =
      Cat(R"({")", tensor, R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})");
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + "data";
}

// An index beside two shards, or a file alone, opened as a folder.
void CheckFolder(std::string_view data) {
  static const fuzz::Folder sharded("safetensors_fuzzer.shards"), single("safetensors_fuzzer");
  static const std::string shards[] = {sharded.Write("a.safetensors", Shard("a")),
                                       sharded.Write("b.safetensors", Shard("b"))};
  static_cast<void>(shards);
  const bool index = data.starts_with('{');
  const fuzz::Folder& folder = index ? sharded : single;
  folder.Write(index ? "model.safetensors.index.json" : "model.safetensors", data);
  CheckError(SafetensorsCheckpoint::Open(folder.path()).status());
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  shardline::Check(bytes);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  shardline::CheckFolder(text);
  const uint64_t length = size;
  std::vector<std::byte> framed(sizeof(length) + size + 16);
  std::memcpy(framed.data(), &length, sizeof(length));
  if (size > 0) std::memcpy(framed.data() + sizeof(length), data, size);
  shardline::Check(framed);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(
      [](std::string_view text, shardline::fuzz::Random& random) {
        // A bare header or index is among the seeds, too.
        return text.starts_with('{') ? shardline::fuzz::MutateJson(text, random)
                                     : shardline::fuzz::MutateSafetensors(text, random);
      },
      data, size, max_size, seed);
}
