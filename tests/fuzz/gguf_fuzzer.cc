// Any bytes as a GGUF file: parsing must end in a file whose tensors can all be read, or in a
// one-line error. Inputs start from a header with plausible counts, so that mutations reach the
// inside early.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "shared/format/gguf.h"
#include "tests/fuzz/mutate.h"
#include "tests/shared/format/gguf_bytes.h"

namespace shardline {
namespace {

void Check(std::span<const std::byte> bytes) {
  const auto file = GgufFile::Parse(bytes, "fuzz");
  if (!file.ok()) {
    if (Message(file.status()).find('\n') != std::string::npos) std::abort();
    return;
  }
  unsigned sum = 0;
  for (const GgufTensor& tensor : (*file)->tensors()) {
    if ((*file)->FindTensor(tensor.name) != &tensor) std::abort();
    sum += static_cast<unsigned>(tensor.data.front()) + static_cast<unsigned>(tensor.data.back());
  }
  for (const auto& [key, value] : (*file)->metadata()) {
    if ((*file)->Find(key) != &value) std::abort();
    const bool number = (*file)->Float(key).has_value();
    if ((*file)->Int(key).has_value() && !number) std::abort();
    const int kinds = int{number} + int{(*file)->Bool(key).has_value()} +
                      int{(*file)->String(key).has_value()} + int{(*file)->Array(key) != nullptr};
    if (kinds != 1) std::abort();
    if (const auto* array = std::get_if<GgufArray>(&value)) {
      for (const std::string_view text : array->strings) {
        if (!text.empty()) sum += static_cast<unsigned char>(text.back());
      }
    }
  }
  volatile unsigned keep = sum;
  static_cast<void>(keep);
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  shardline::Check(bytes);
  if (size < 2) return 0;
  shardline::GgufBytes shaped;
  shaped.Header(data[0] % 4, data[1] % 8);
  shaped.bytes().insert(shaped.bytes().end(), bytes.begin() + 2, bytes.end());
  shardline::Check(shaped.span());
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(shardline::fuzz::MutateGguf, data, size, max_size, seed);
}
