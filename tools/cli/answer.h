// Shows a stream of GenerateEvents: text as it comes, or every event as a line of JSON; keeps what
// the closing line tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>

#include "shardline/v1/inference.pb.h"

namespace shardline::cli {

class Answer {
 public:
  using Clock = std::chrono::steady_clock;

  struct Style {
    bool json = false;
    bool several = false;  // more than one output: each is shown whole, with its number
  };
  // `start`: when the request was sent.
  Answer(Style style, std::ostream& out, Clock::time_point start);

  void Take(const v1::GenerateEvent& event, Clock::time_point now);
  // Ends the text with a newline where it has none.
  void Close();

  // The terminal error's line; empty when there was none.
  const std::string& error() const { return error_; }
  // True once every output has finished (`usage` comes with the last one).
  bool complete() const { return complete_; }
  uint64_t tokens() const { return tokens_; }
  // "24 tokens, first after 0.12 s, 35.1 tok/s, finished: eos"
  std::string Summary() const;

 private:
  void TakeTokens(const v1::OutputTokens& tokens, Clock::time_point now);
  void TakeFinished(const v1::Finished& finished);
  void Write(const std::string& text);

  Style style_;
  std::ostream& out_;
  Clock::time_point start_;
  std::optional<Clock::time_point> first_token_;
  Clock::time_point last_token_;
  uint64_t tokens_ = 0;                      // seen
  uint64_t first_tokens_ = 0;                // of them, in the first event that had any
  std::map<uint32_t, std::string> pending_;  // text by output, when there are several
  std::string reasons_;
  std::string error_;
  bool complete_ = false;
  bool at_line_start_ = true;
};

}  // namespace shardline::cli
