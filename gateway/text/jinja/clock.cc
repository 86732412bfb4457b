#include "gateway/text/jinja/clock.h"

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

  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out.push_back(format[i]);
      continue;
    }
    std::string directive = "%";
    size_t at = i + 1;
    while (at < format.size() &&
           std::string_view("-_0^#EO").find(format[at]) != std::string_view::npos) {
      directive += format[at++];
    }
    if (at < format.size() && format[at] >= '1' && format[at] <= '9') {
      ValueError("strftime: widths are not supported");
    }
    if (at >= format.size()) {
      out += directive;
      break;
    }
    const char letter = format[at];
    directive += letter;
    i = at;
    if (letter == 'f') {
      char text[8];
      std::snprintf(text, sizeof(text), "%06d", static_cast<int>(micros));
      out += text;
    } else if (letter == 'z' || letter == 'Z') {
      // A time without a zone has neither.
    } else {
      out += Directive(directive, time);
    }
    CheckTextSize(out.size());
  }
  return out;
}

}  // namespace shardline::jinja
