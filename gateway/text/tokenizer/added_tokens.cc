#include "gateway/text/tokenizer/added_tokens.h"

#include <algorithm>

#include "gateway/text/tokenizer/unicode_data.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

// The character that ends before `end` begins here.
size_t PreviousCharacter(std::string_view text, size_t end) {
  do --end;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool EndsWithWord(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t at = PreviousCharacter(text, end);
  return IsWordCharacter(NextCharacter(text, &at));
}

bool StartsWithWord(std::string_view text, size_t begin) {
  return begin < text.size() && IsWordCharacter(NextCharacter(text, &begin));
}

size_t SpacesLeftOf(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    const size_t previous = PreviousCharacter(text, begin);
    size_t at = previous;
    if (!IsWhitespace(NextCharacter(text, &at))) break;
    begin = previous;
  }
  return std::max(begin, limit);
}

size_t SpacesRightOf(std::string_view text, size_t end) {
  while (end < text.size()) {
    size_t at = end;
    if (!IsWhitespace(NextCharacter(text, &at))) break;
    end = at;
  }
  return end;
}

}  // namespace

uint32_t AddedTokenTrie::Child(uint32_t node, char byte) const {
  for (uint32_t c = nodes_[node].first_child; c != 0; c = nodes_[c].next_sibling) {
    if (nodes_[c].byte == byte) return c;
  }
  return 0;
}

void AddedTokenTrie::Add(std::string_view content, AddedToken token) {
  if (content.empty()) return;
  uint32_t node = 0;
  for (const char byte : content) {
    uint32_t child = Child(node, byte);
    if (child == 0) {
      child = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({.next_sibling = nodes_[node].first_child, .byte = byte});
      nodes_[node].first_child = child;
    }
    node = child;
  }
  starts_[static_cast<unsigned char>(content[0])] = true;
  if (nodes_[node].token >= 0) return;  // the first one counts
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

void AddedTokenTrie::Split(const Piece& piece, const Policy& policy,
                           std::vector<Piece>& out) const {
  const std::string_view text = piece.text;
  size_t done = 0;     // text before it is in `out`
  size_t literal = 0;  // first range of policy.literal that ends behind the current match
  const auto append = [&](size_t begin, size_t end, int64_t token) {
    if (begin >= end) return;
    Piece part = piece.Part(begin, end);
    part.token = token;
    out.push_back(part);
  };
  for (size_t i = 0; i < text.size();) {
    if (!starts_[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    int32_t found = -1;
    size_t end = i;
    for (size_t at = i, node = 0; at < text.size(); ++at) {
      node = Child(static_cast<uint32_t>(node), text[at]);
      if (node == 0) break;
      if (nodes_[node].token >= 0) {
        found = nodes_[node].token;
        end = at + 1;
      }
    }
    if (found < 0) {
      ++i;
      continue;
    }
    size_t begin = i;
    i = end;
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    if (token.special) {
      if (!policy.parse_special) continue;
      while (literal < policy.literal.size() && policy.literal[literal].end <= begin) ++literal;
      if (literal < policy.literal.size() && policy.literal[literal].begin < end) {
        // What begins behind the literal text may still be a token of its own.
        i = std::min(end, policy.literal[literal].end);
        while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) ++i;
        continue;
      }
    }
    if (token.single_word && (EndsWithWord(text, begin) || StartsWithWord(text, end))) continue;
    if (token.lstrip) begin = std::max(done, SpacesLeftOf(text, begin, std::min(done, begin)));
    if (token.rstrip) end = SpacesRightOf(text, end);
    if (done < begin) append(done, begin, -1);
    append(begin, end, token.id);
    done = end;
  }
  append(done, text.size(), -1);
}

}  // namespace shardline
