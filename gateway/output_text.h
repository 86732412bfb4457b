// One output's text: token ids in, certain text out. Decides which tokens show (special tokens, the
// token that ended the output), drops SentencePiece's first space, and watches for stop strings.
// Its state is a function of the tokens pushed so far.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/text/detokenizer.h"
#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {

struct TextRules {
  std::vector<std::string> stop_strings;
  uint32_t min_new_tokens = 0;  // stop strings wait for so many tokens
  bool include_special_text = false;
  bool include_stop = false;
};

class OutputText {
 public:
  // `tokenizer` may be null: there is no text then.
  OutputText(const Tokenizer* tokenizer, const TextRules& rules);

  struct Piece {
    std::string text;
    std::optional<size_t>
        stop_string;  // index of the one that ended the output; nothing more may come
  };
  // The output's next token. `ends`: it is an EOS or stop token, which ended the output.
  Piece Push(uint32_t id, bool ends = false);
  // No more tokens come. What was held back; a stop string may be completed by it.
  Piece Finish();

 private:
  Piece Match(const std::string& text, bool armed);

  const Tokenizer* tokenizer_;
  TextRules rules_;
  Utf8Stream utf8_;
  StopMatcher matcher_;
  uint32_t tokens_ = 0;
  bool at_start_ = true;
  bool matched_ = false;
};

}  // namespace shardline
