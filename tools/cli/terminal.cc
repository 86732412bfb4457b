#include "tools/cli/terminal.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

namespace shardline::cli {

bool IsTerminal(const std::istream& in) { return &in == &std::cin && isatty(STDIN_FILENO) != 0; }

bool IsTerminal(const std::ostream& out) {
  return (&out == &std::cout && isatty(STDOUT_FILENO) != 0) ||
         (&out == &std::cerr && isatty(STDERR_FILENO) != 0);
}

bool WantsColours(const std::ostream& out) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return IsTerminal(out) && (no_color == nullptr || *no_color == '\0') && terminal != nullptr &&
         *terminal != '\0' && std::string_view(terminal) != "dumb";
}

}  // namespace shardline::cli
