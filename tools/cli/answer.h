// Shows a stream of GenerateEvents: text as it comes, tables of log-probabilities, or every event
// as a line of JSON; keeps what the closing line tells.
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
    bool several = false;   // more than one output: each has a heading
    bool table = false;     // a row for each token, for prompt tokens too
    bool terminal = false;  // control characters of the text are left out
  };
  // `start`: when the request was sent.
  Answer(Style style, std::ostream& out, Clock::time_point start);

  void Take(const v1::GenerateEvent& event, Clock::time_point now);
  // Shows what outputs that did not finish have said, and ends the text with a newline.
  void Close();

  // The terminal error's line; empty when there was none.
  const std::string& error() const { return error_; }
  // True once every output has finished (`usage` comes with the last one).
  bool complete() const { return complete_; }
  // The request's id and the last event's number, as far as they are known.
  const std::string& request_id() const { return request_id_; }
  uint64_t last_seq() const { return last_seq_; }
  uint64_t tokens() const { return tokens_; }
  // "24 tokens"
  std::string Tokens() const;
  // Tokens per second behind the first ones; nullopt when there is too little to tell.
  std::optional<double> Rate() const;
  // "24 tokens, first after 0.12 s, 35.1 tok/s, finished: eos"
  std::string Summary() const;
  // Why the outputs ended: "length, stop_string ('x')".
  const std::string& reasons() const { return reasons_; }

 private:
  struct Output {
    std::string pending;  // what waits until the outputs before it are shown
    uint64_t rows = 0;    // of its table
    bool finished = false;
  };
  void TakePrompt(const v1::PromptTokens& prompt);
  void TakeTokens(const v1::OutputTokens& tokens, Clock::time_point now);
  void TakeFinished(const v1::Finished& finished);
  // Shows `index` from here on, with its heading.
  void Turn(uint32_t index);
  void Write(const std::string& text);

  Style style_;
  std::ostream& out_;
  Clock::time_point start_;
  std::optional<Clock::time_point> first_token_;
  Clock::time_point last_token_;
  uint64_t tokens_ = 0;        // seen
  uint64_t first_tokens_ = 0;  // of them, in the first event that had any
  // One output is shown at a time, as it comes; the others wait here for their turn.
  std::map<uint32_t, Output> waiting_;
  std::optional<uint32_t> shown_;
  std::string request_id_;
  uint64_t last_seq_ = 0;
  std::string reasons_;
  std::string error_;
  bool prompt_shown_ = false;
  bool turned_ = false;  // an output has been shown
  bool complete_ = false;
  bool at_line_start_ = true;
};

}  // namespace shardline::cli
