// One output's way from token bytes to certain text: whole UTF-8 characters, with what could still
// be the beginning of a stop string held back. State is a function of the tokens pushed so far.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardline {

// Bytes in, well-formed UTF-8 out; holds back at most 3 bytes of an unfinished character. A byte
// that can be part of no character becomes U+FFFD at once (one per maximal ill-formed part, Unicode
// 15 §3.9).
class Utf8Stream {
 public:
  std::string Push(std::string_view bytes);
  std::string Finish();  // an unfinished tail becomes one U+FFFD

 private:
  std::string pending_;
};

// Finds the stop string whose end comes first (at the same end the longest) in streamed text: an
// Aho–Corasick automaton, so the time is linear in the text whatever the stop strings are.
class StopMatcher {
 public:
  // Empty stop strings never match.
  explicit StopMatcher(std::vector<std::string> stop_strings);
  struct Result {
    std::string text;               // now certain, nothing of a possible stop string in it
    std::optional<size_t> matched;  // index of the stop string; the matcher is then finished
    std::string matched_text;       // the stop string itself, for include_stop
  };
  // While `armed` is false (min_new_tokens not reached) text passes through unmatched; a match may
  // not begin in text pushed while disarmed. After a match every call returns nothing.
  Result Push(std::string_view text, bool armed = true);
  std::string Finish();  // the held-back tail: certain now that no more comes

 private:
  struct State {
    uint32_t parent = 0, fail = 0, depth = 0;
    uint32_t first_child = 0, next_sibling = 0;  // 0: none (the root is nobody's child)
    int32_t matched = -1;                        // longest stop string that ends here
    char byte = 0;
  };
  uint32_t Child(uint32_t state, char byte) const;
  uint32_t Step(uint32_t state, char byte) const;

  std::vector<std::string> stop_strings_;
  std::vector<State> states_;
  uint32_t state_ = 0;
  std::string held_;  // the last states_[state_].depth bytes: could still begin a stop string
  bool finished_ = false;
};

}  // namespace shardline
