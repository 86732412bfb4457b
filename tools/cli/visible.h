// Text of a model made safe to show.
#pragma once

#include <string>
#include <string_view>

namespace shardline::cli {

// In double quotes on one line: \n, \t, \" and so on, other control characters and bytes that are
// no UTF-8 as \xNN.
std::string Escaped(std::string_view bytes);

// Without the control characters by which text can drive a terminal; line breaks and tabs stay.
// `text` is UTF-8.
std::string WithoutControls(std::string_view text);

}  // namespace shardline::cli
