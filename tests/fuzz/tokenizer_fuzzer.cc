// Any bytes as a vocabulary file, tokenizer.json or GGUF: loading must end in a tokenizer or in a
// one-line error, and what loads must encode any text to ids that it has. Start it with the
// fixtures of the tokenizer's tests as seeds.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "gateway/text/tokenizer/tokenizer_files.h"

namespace shardline {
namespace {

void CheckError(const absl::Status& status) {
  if (Message(status).find('\n') != std::string::npos) std::abort();
}

void CheckText(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse : {true, false}) {
    EncodeOptions options;
    options.parse_special_tokens = parse;
    options.literal_ranges = {{text.size() / 3, text.size() / 2}};
    const auto ids = tokenizer.Encode(text, options);
    if (!ids.ok()) {
      CheckError(ids.status());
      continue;
    }
    for (const uint32_t id : *ids) {
      if (id >= tokenizer.size()) std::abort();
    }
  }
}

void Check(const absl::StatusOr<std::unique_ptr<Tokenizer>>& tokenizer, std::string_view tail) {
  if (!tokenizer.ok()) return CheckError(tokenizer.status());
  CheckText(**tokenizer, tail);
  CheckText(**tokenizer, "It's 1234 e\u0301\u0323 \u6F22\u5B57\r\n\n  <s>x</s> <tool>\xFF\xE2\x96");
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string_view tail = bytes.substr(size - std::min<size_t>(size, 64));
  if (!bytes.starts_with("GGUF")) {
    shardline::Check(shardline::TokenizerFromJson(bytes), tail);
    return 0;
  }
  const auto file = shardline::GgufFile::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (file.ok()) shardline::Check(shardline::TokenizerFromGguf(**file), tail);
  return 0;
}
