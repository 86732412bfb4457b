// A vocabulary for tests: ids below 256 are single bytes, then a few words and special tokens.
#pragma once

#include "gateway/text/tokenizer/tokenizer.h"

namespace shardline {

class FakeTokenizer : public Tokenizer {
 public:
  static constexpr uint32_t kEos = 256, kBos = 257, kSpaceHello = 258, kEnd = 259, kSize = 260;

  explicit FakeTokenizer(bool strips_first_space = false) : strips_(strips_first_space) {
    for (int i = 0; i < 256; ++i) raw_.emplace_back(1, static_cast<char>(i));
    for (const char* word : {"<eos>", "<bos>", " hello", "END"}) raw_.emplace_back(word);
  }
  absl::StatusOr<std::vector<uint32_t>> Encode(std::string_view text,
                                               const EncodeOptions& options) const override {
    std::vector<uint32_t> ids;
    if (options.add_special_tokens) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string_view Raw(uint32_t id) const override {
    return id < raw_.size() ? std::string_view(raw_[id]) : std::string_view();
  }
  bool IsSpecial(uint32_t id) const override { return id == kEos || id == kBos; }
  bool StripsFirstSpace() const override { return strips_; }
  uint32_t size() const override { return kSize; }
  int64_t bos_id() const override { return kBos; }
  std::vector<uint32_t> eos_ids() const override { return {kEos}; }
  std::string_view bos_text() const override { return "<bos>"; }
  std::string_view eos_text() const override { return "<eos>"; }

 private:
  std::vector<std::string> raw_;
  const bool strips_;
};

}  // namespace shardline
