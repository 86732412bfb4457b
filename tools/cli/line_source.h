// Where a conversation's lines come from: a terminal with line editing and history, or any other
// input, which shows no prompt.
#pragma once

#include <iosfwd>
#include <memory>
#include <string>

namespace shardline::cli {

enum class LineEnd {
  kLine,       // a line, without its '\n'
  kEnd,        // the input has ended
  kInterrupt,  // Ctrl-C
  kTerminate,  // SIGTERM
  kTooLong,    // more than kMaxInputBytes
};

class LineSource {
 public:
  virtual ~LineSource() = default;
  // `prompt` ends with a blank.
  virtual LineEnd Next(const std::string& prompt, std::string& line) = 0;
};

// Meanwhile Ctrl-C and SIGTERM end the program, as they do with any that reads a pipe.
std::unique_ptr<LineSource> PipedLines(std::istream& in);

// Standard input, a terminal. The caller holds the signals (SignalsHeld); they show as what Next()
// returns. `on_output`: the prompt goes to standard output, else to standard error.
std::unique_ptr<LineSource> EditedLines(bool on_output, bool colours);

}  // namespace shardline::cli
