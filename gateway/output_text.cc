#include "gateway/output_text.h"

namespace shardline {

OutputText::OutputText(const Tokenizer* tokenizer, const TextRules& rules)
    : tokenizer_(tokenizer), rules_(rules), matcher_(rules.stop_strings) {}

OutputText::Piece OutputText::Push(uint32_t id, bool ends) {
  const bool armed = tokens_++ >= rules_.min_new_tokens;
  if (tokenizer_ == nullptr || matched_) return {};
  const bool hidden =
      (ends && !rules_.include_stop) || (tokenizer_->IsSpecial(id) && !rules_.include_special_text);
  if (hidden) return {};
  std::string_view bytes = tokenizer_->Raw(id);
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    if (tokenizer_->StripsFirstSpace() && bytes.front() == ' ') bytes.remove_prefix(1);
  }
  return Match(utf8_.Push(bytes), armed);
}

OutputText::Piece OutputText::Finish() {
  if (tokenizer_ == nullptr || matched_) return {};
  Piece piece = Match(utf8_.Finish(), tokens_ > rules_.min_new_tokens);
  if (!piece.stop_string.has_value()) piece.text += matcher_.Finish();
  return piece;
}

OutputText::Piece OutputText::Match(const std::string& text, bool armed) {
  StopMatcher::Result result = matcher_.Push(text, armed);
  Piece piece{std::move(result.text), result.matched};
  if (result.matched.has_value()) {
    matched_ = true;
    if (rules_.include_stop) piece.text += result.matched_text;
  }
  return piece;
}

}  // namespace shardline
