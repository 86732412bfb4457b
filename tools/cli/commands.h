// The subcommands of `shardline`. Each takes its own arguments and streams, and returns the exit
// code: 0 done, 1 failed while running, 2 bad arguments or input. Errors are one line on `err`.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace shardline::cli {

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadInput = 2;
inline constexpr int kInterrupted = 130;  // ended by Ctrl-C, as shells expect

using Arguments = std::vector<std::string>;

// Writes "shardline COMMAND: text" as one line, whatever `text` holds, and returns `code`.
int Fail(Streams& streams, std::string_view command, std::string_view text, int code = kBadInput);

int RunBench(const Arguments& arguments, Streams& streams);
int Chat(const Arguments& arguments, Streams& streams);
int Generate(const Arguments& arguments, Streams& streams);
int Inspect(const Arguments& arguments, Streams& streams);
int Load(const Arguments& arguments, Streams& streams);
int Models(const Arguments& arguments, Streams& streams);
int Plan(const Arguments& arguments, Streams& streams);
int Render(const Arguments& arguments, Streams& streams);
int Tokenize(const Arguments& arguments, Streams& streams);

}  // namespace shardline::cli
