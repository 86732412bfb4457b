// Tokens that are found in the text whole, before the model: control tokens and what users have
// added.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/tokenizer/piece.h"
#include "gateway/text/tokenizer/regex.h"

namespace shardline {

struct AddedToken {
  std::string content;
  uint32_t id = 0;
  bool special = false;      // a control token
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes white space on its left along
  bool rstrip = false;       // … on its right
  bool normalized = false;   // looked for in normalised text
};

// One trie of contents: the leftmost match wins, among those the longest.
class AddedTokenTrie {
 public:
  AddedTokenTrie() : nodes_(1) {}
  // `content` is what to look for (token.content, normalised where that applies).
  void Add(std::string_view content, AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Which special tokens are matched at text positions.
  struct Policy {
    bool parse_special = true;
    // Ascending ranges of `text` in which special tokens are not parsed; a match that touches one
    // is none.
    std::vector<TextRange> literal;
  };
  // Appends the parts of `piece`: tokens found and the text between.
  void Split(const Piece& piece, const Policy& policy, std::vector<Piece>& out) const;

 private:
  struct Node {
    uint32_t first_child = 0, next_sibling = 0;  // 0: none
    int32_t token = -1;
    char byte = 0;
  };
  uint32_t Child(uint32_t node, char byte) const;

  std::vector<Node> nodes_;
  std::vector<AddedToken> tokens_;
  bool starts_[256] = {};  // first bytes of contents
};

}  // namespace shardline
