// Any bytes as a GGUF file with a vocabulary: an error of one line, or a tokenizer that works.
#include <cstdint>
#include <cstdlib>

#include "gateway/text/tokenizer/tokenizer_files.h"
#include "tests/fuzz/mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using shardline::Message;
  const auto file = shardline::GgufFile::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  const auto tokenizer = shardline::TokenizerFromGguf(**file);
  if (!tokenizer.ok()) {
    if (Message(tokenizer.status()).find('\n') != std::string::npos) std::abort();
    return 0;
  }
  const auto ids =
      (*tokenizer)
          ->Encode("The  \u00c4\u00e9\u4f60 <|im_end|>12\n a'll\xff", {.add_special_tokens = true});
  if (!ids.ok()) return 0;
  for (const uint32_t id : *ids) {
    if (id >= (*tokenizer)->size()) std::abort();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(shardline::fuzz::MutateGguf, data, size, max_size, seed);
}
