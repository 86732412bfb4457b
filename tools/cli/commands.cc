#include "tools/cli/commands.h"

#include <algorithm>
#include <ostream>

#include "shared/base/strings.h"

namespace shardline::cli {

int Fail(Streams& streams, std::string_view command, std::string_view text, int code) {
  std::string line = Cat("shardline ", command, ": ", text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  streams.err << line << "\n";
  return code;
}

}  // namespace shardline::cli
