// Any text as a folder's tokenizer.json: an error of one line, or a tokenizer that encodes what it
// is given or says why it cannot, and whose tokens all have bytes.
#include <cstdint>
#include <cstdlib>

#include "gateway/text/tokenizer/tokenizer_files.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using shardline::Message;
  static const shardline::fuzz::Folder folder("tokenizer_json_fuzzer");
  static const std::string beside[] = {
      folder.Write("tokenizer_config.json",
                   R"({"bos_token": "<s>", "eos_token": {"content": "a"}})"),
      folder.Write("special_tokens_map.json", R"({"eos_token": "</s>"})")};
  static_cast<void>(beside);
  folder.Write("tokenizer.json", {reinterpret_cast<const char*>(data), size});
  const auto tokenizer = shardline::TokenizerFromDirectory(folder.path());
  if (!tokenizer.ok()) {
    if (Message(tokenizer.status()).find('\n') != std::string::npos) std::abort();
    return 0;
  }
  for (uint32_t id = 0; id < (*tokenizer)->size(); ++id) (void)(*tokenizer)->Raw(id);
  for (const bool special : {false, true}) {
    const auto ids =
        (*tokenizer)
            ->Encode("The  \u00c4\u00e9\u4f60 <s>12\n a'll\xff", {.add_special_tokens = special});
    if (!ids.ok()) continue;
    for (const uint32_t id : *ids) {
      if (id >= (*tokenizer)->size()) std::abort();
    }
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(shardline::fuzz::MutateJson, data, size, max_size, seed);
}
