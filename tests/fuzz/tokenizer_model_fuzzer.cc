// Any bytes as a folder's tokenizer.model, or as the tokenizer_config.json beside one: an error of
// one line, or a tokenizer that encodes what it is given, and whose tokens all have bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "gateway/text/tokenizer/tokenizer_files.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/mutate.h"

namespace {

using shardline::fuzz::Random;

// SentencePiece's wire format is dense: a byte, a length or a run changed is a lie about a field.
std::string MutateBytes(std::string_view file, Random& random) {
  std::string out(file);
  if (out.empty()) return "\n";
  const size_t at = random() % out.size();
  const size_t size = std::min<size_t>(random() % 40, out.size() - at);
  switch (random() % 6) {
    case 0:
      out[at] = static_cast<char>(random());
      break;
    case 1: {  // a number of another size
      std::string number;
      uint64_t value = shardline::fuzz::HostileNumber(random, static_cast<unsigned char>(out[at]));
      for (; value >= 0x80; value >>= 7) number += static_cast<char>(value | 0x80);
      out.replace(at, 1, number + static_cast<char>(value));
      break;
    }
    case 2:
      out.erase(at, size);
      break;
    case 3:
      out.insert(random() % out.size(), out.substr(at, size));
      break;
    case 4:
      out.resize(at);
      break;
    default:
      out[at] = static_cast<char>(out[at] ^ (1 << random() % 8));
  }
  return out;
}

std::string Mutate(std::string_view input, Random& random) {
  return input.starts_with('{') ? shardline::fuzz::MutateJson(input, random)
                                : MutateBytes(input, random);
}

// Of a few tokens, in both formats.
constexpr char kPieceBytes[] =
    "\x0A\x0E\x0A\x05<unk>\x15\0\0\0\0\x18\x02\x0A\x0C\x0A\x03<s>\x15\0\0\0\0\x18\x03"
    "\x0A\x08\x0A\x01\x61\x15\0\0\x80\xBF";
constexpr std::string_view kPieces(kPieceBytes, sizeof(kPieceBytes) - 1);
constexpr std::string_view kLines = "YQ== 0\nYg== 1\nYWI= 2\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using shardline::Message;
  static const shardline::fuzz::Folder folder("tokenizer_model_fuzzer");
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const bool settings = input.starts_with('{');
  const bool lines = input.find("ChatGLM4") != input.npos;
  folder.Write("tokenizer_config.json",
               settings ? input
               : size % 2 == 0
                   ? R"({"tokenizer_class": "ChatGLM4Tokenizer", "added_tokens_decoder": {
                         "9999": {"content": "[gMASK]"}, "9998": {"content": "<sop>"}}})"
                   : R"({"tokenizer_class": "ChatGLMTokenizer"})");
  const std::string path = folder.Write("tokenizer.model", !settings ? input
                                                           : lines   ? kLines
                                                                     : kPieces);
  const auto tokenizer = shardline::TokenizerFromModelFile(path);
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
  return shardline::fuzz::Apply(Mutate, data, size, max_size, seed);
}
