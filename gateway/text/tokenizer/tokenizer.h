// Text ↔ token ids. One pipeline for all vocabularies: added tokens are split off, a model for each
// kind (BPE, Unigram, RWKV) does the words between, the post-processor adds BOS and EOS. Immutable
// after loading and safe to use from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"
#include "shared/format/gguf.h"

namespace shardline {

struct EncodeOptions {
  // The tokenizer's own BOS/EOS rule; a BOS that the text already starts with is not doubled.
  bool add_special_tokens = true;
  // Special (control) tokens written in the text become their ids. User-defined added tokens that
  // are not special are matched whole either way.
  bool parse_special_tokens = true;
  // Byte ranges [begin, end), ascending, in which special tokens are NOT parsed whatever
  // parse_special_tokens says (message contents inside a rendered chat).
  struct Range {
    size_t begin;
    size_t end;
  };
  std::vector<Range> literal_ranges;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // `text` is bytes; each maximal ill-formed part is tokenised as U+FFFD. Characters that the
  // vocabulary cannot express become its unk_token or, like in the reference library, vanish where
  // it has none. Errors: InvalidArgument (a pattern of the file at its limits on this text, an
  // unk_token that is no token, an unknown character for a Unigram model without unk_id).
  virtual absl::StatusOr<std::vector<uint32_t>> Encode(std::string_view text,
                                                       const EncodeOptions& options) const = 0;

  // Exact bytes that `id` stands for in running text (maybe half a character; a special token's
  // literal; a SentencePiece "▁x" is " x"; a byte token <0x41> is "A"). Empty for ids without a
  // token (vocabulary padding).
  virtual std::string_view Raw(uint32_t id) const = 0;
  // Control tokens: they stay out of the answer's text.
  virtual bool IsSpecial(uint32_t id) const = 0;
  // True when the decoder drops the first space of a decoded text (SentencePiece's dummy prefix).
  virtual bool StripsFirstSpace() const = 0;

  virtual uint32_t size() const = 0;  // ids are below it; the model's vocabulary may be larger
  // -1 where there is none.
  virtual int64_t bos_id() const = 0;
  virtual std::vector<uint32_t> eos_ids()
      const = 0;  // what the vocabulary itself declares (eos, eot, eom, …)
  virtual std::string_view bos_text()
      const = 0;  // for templates' bos_token; empty where there is none
  virtual std::string_view eos_text() const = 0;
};

// From a GGUF file's tokenizer.ggml.* metadata. Errors: FailedPrecondition when it has no
// vocabulary; InvalidArgument naming the key that is wrong or the pre-tokenizer that is not known.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const GgufFile& file);
// From a directory's tokenizer.json, else its tokenizer.model or spiece.model (+
// tokenizer_config.json, special_tokens_map.json where present). Errors: NotFound when there is
// none of them; InvalidArgument naming the part that is not understood.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromDirectory(const std::string& directory);
// `path` is a .gguf file, a tokenizer.json, a .model file, or a directory that has one of these
// two.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path);

}  // namespace shardline
