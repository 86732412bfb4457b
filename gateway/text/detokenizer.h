// One output's way from token bytes to certain text: whole UTF-8 characters, with what could still be
// the beginning of a stop string held back. State is a function of the tokens pushed so far.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardline {

// Bytes in, well-formed UTF-8 out; holds back at most 3 bytes of an unfinished character. A byte that
// can be part of no character becomes U+FFFD at once (one per maximal ill-formed part, Unicode 15 §3.9).
class Utf8Stream {
 public:
  std::string Push(std::string_view bytes);
  std::string Finish();  // an unfinished tail becomes one U+FFFD

 private:
  std::string pending_;
};

// Finds the stop string whose end comes first (at the same end the longest) in streamed text.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stop_strings);
  struct Result {
    std::string text;                        // now certain, nothing of a possible stop string in it
    std::optional<size_t> matched;           // index of the stop string; the matcher is then finished
    std::string matched_text;                // the stop string itself, for include_stop
  };
  // While `armed` is false (min_new_tokens not reached) text passes through unmatched; a match may not begin
  // in text pushed while disarmed.
  Result Push(std::string_view text, bool armed = true);
  std::string Finish();  // the held-back tail: certain now that no more comes

 private:
  std::vector<std::string> stop_strings_;
  std::string held_;
};

}  // namespace shardline
