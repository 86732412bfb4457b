// Whether somebody sits there: streams that are this program's own, on a terminal.
#pragma once

#include <iosfwd>

namespace shardline::cli {

bool IsTerminal(const std::istream& in);
bool IsTerminal(const std::ostream& out);

// Colours are for terminals that know them, unless NO_COLOR is set (https://no-color.org).
bool WantsColours(const std::ostream& out);

}  // namespace shardline::cli
