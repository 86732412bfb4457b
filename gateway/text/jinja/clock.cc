#include "gateway/text/jinja/clock.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "gateway/text/jinja/budget.h"
#include "gateway/text/jinja/error.h"

namespace shardline::jinja {

namespace {

// One directive of the C library, such as "%d" or "%-d"; unknown ones stay as they are.
std::string Directive(const std::string& directive, const std::tm& time) {
  char buffer[256];
  const size_t size = std::strftime(buffer, sizeof(buffer), directive.c_str(), &time);
  return std::string(buffer, size);
}

}  // namespace

std::string FormatTime(std::string_view format,
                       const std::optional<std::chrono::system_clock::time_point>& now) {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  const auto moment = now.value_or(std::chrono::system_clock::now());
  const auto since = duration_cast<microseconds>(moment.time_since_epoch()).count();
  constexpr int64_t kSecond = 1'000'000;
  const int64_t micros = ((since % kSecond) + kSecond) % kSecond;
  const auto seconds = static_cast<std::time_t>((since - micros) / kSecond);
  std::tm time{};
  localtime_r(&seconds, &time);
  time.tm_isdst = -1;  // as of a time without a zone: %z and %Z are empty
  time.tm_zone = "";

  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out.push_back(format[i]);
      continue;
    }
    // Python replaces %f; all else, with flags and width, is the C library's.
    size_t at = std::min(format.find_first_not_of("-_0^#+", i + 1), format.size());
    const size_t width = at;
    at = std::min(format.find_first_not_of("0123456789", at), format.size());
    if (at - width > 2) ValueError("strftime: a width has at most two digits");
    at = std::min(format.find_first_not_of("EO", at), format.size() - 1);
    const std::string directive(format.substr(i, at + 1 - i));
    i = at;
    if (directive == "%f") {
      char text[8];
      std::snprintf(text, sizeof(text), "%06d", static_cast<int>(micros));
      out += text;
    } else {
      out += Directive(directive, time);
    }
    CheckTextSize(out.size());
  }
  return out;
}

}  // namespace shardline::jinja
