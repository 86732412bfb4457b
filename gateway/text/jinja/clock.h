// Python's datetime.now().strftime(format).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace shardline::jinja {

// `now` (the clock when empty) in local time.
std::string FormatTime(std::string_view format,
                       const std::optional<std::chrono::system_clock::time_point>& now);

}  // namespace shardline::jinja
