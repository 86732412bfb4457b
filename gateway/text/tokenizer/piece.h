// A text on its way to ids: pieces between added tokens, cut ever smaller by the pre-tokenizers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace shardline {

struct Piece {
  std::string_view text;  // in the caller's text or in an Arena
  int64_t token = -1;     // an added token, already known
  // Does the piece begin where the whole text begins (Metaspace's prepend_scheme "first" asks)?
  // Bytes below `origin` come from the text's first character; a part cut off behind them does not.
  bool at_start = false;
  size_t origin = 0;

  Piece Part(size_t begin, size_t end) const {
    Piece part;
    part.text = text.substr(begin, end - begin);
    part.at_start = at_start && begin < origin;
    part.origin = part.at_start ? std::min(origin, end) - begin : 0;
    return part;
  }
};

// Owns texts that pieces point into, for the time of one Encode.
class Arena {
 public:
  std::string& New() { return texts_.emplace_back(); }

 private:
  std::deque<std::string> texts_;  // stable addresses
};

}  // namespace shardline
