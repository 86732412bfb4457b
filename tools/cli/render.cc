// shardline render: a chat template with the variables of standard input, as Python's jinja2
// renders it with trim_blocks, lstrip_blocks and loop controls. Needs no server.
#include <chrono>
#include <ctime>
#include <ostream>

#include "gateway/text/jinja/template.h"
#include "gateway/text/jinja/variables.h"
#include "shared/base/quoted.h"
#include "tools/cli/commands.h"
#include "tools/cli/input.h"
#include "tools/cli/options.h"

namespace shardline::cli {
namespace {

using Time = std::chrono::system_clock::time_point;

// The two digits at text[at]; -1 when there are none.
int TwoDigits(const std::string& text, size_t at) {
  if (at + 2 > text.size() || text[at] < '0' || text[at] > '9' || text[at + 1] < '0' ||
      text[at + 1] > '9') {
    return -1;
  }
  return (text[at] - '0') * 10 + (text[at + 1] - '0');
}

// "Z", "+01:00", "-0530", or "" → seconds east of UTC; nullopt for local time.
absl::StatusOr<std::optional<int>> ReadZone(const std::string& zone) {
  if (zone.empty()) return std::optional<int>();
  if (zone == "Z" || zone == "z") return std::optional<int>(0);
  const size_t minutes_at = zone.size() == 6 && zone[3] == ':' ? 4 : 3;
  const int hours = TwoDigits(zone, 1);
  const int minutes = zone.size() == 3 ? 0 : TwoDigits(zone, minutes_at);
  if ((zone[0] != '+' && zone[0] != '-') || hours < 0 || hours > 23 || minutes < 0 ||
      minutes > 59 || (zone.size() != 3 && zone.size() != minutes_at + 2)) {
    return InvalidArgument(Quoted(zone), " is no time zone");
  }
  return std::optional<int>((zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60));
}

// 2025-01-31, 2025-01-31T09:30, 2025-01-31T09:30:05.25+01:00; without a zone it is local time.
absl::StatusOr<Time> ReadTime(const std::string& text) {
  const absl::Status bad =
      InvalidArgument(Quoted(text), " is no ISO 8601 time such as 2025-01-31T09:30:00");
  std::tm parts{};
  const int century = TwoDigits(text, 0), year = TwoDigits(text, 2);
  const int month = TwoDigits(text, 5), day = TwoDigits(text, 8);
  if (century < 0 || year < 0 || month < 1 || month > 12 || day < 1 || text.size() < 10 ||
      text[4] != '-' || text[7] != '-') {
    return bad;
  }
  const std::chrono::year_month_day date(std::chrono::year(century * 100 + year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return bad;
  if (date.year() < std::chrono::year(1678) || date.year() > std::chrono::year(2261)) {
    return InvalidArgument(Quoted(text), " is outside the years 1678 to 2261");  // of the clock
  }
  parts.tm_year = century * 100 + year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_isdst = -1;
  size_t at = 10;
  double fraction = 0;
  if (at < text.size()) {
    if (text[at] != 'T' && text[at] != 't' && text[at] != ' ') return bad;
    parts.tm_hour = TwoDigits(text, at + 1);
    parts.tm_min = TwoDigits(text, at + 4);
    if (parts.tm_hour < 0 || parts.tm_hour > 23 || text[at + 3] != ':' || parts.tm_min < 0 ||
        parts.tm_min > 59) {
      return bad;
    }
    at += 6;
    if (at < text.size() && text[at] == ':') {
      parts.tm_sec = TwoDigits(text, at + 1);
      if (parts.tm_sec < 0 || parts.tm_sec > 60) return bad;
      at += 3;
      if (at < text.size() && text[at] == '.') {
        double scale = 0.1;
        for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
          fraction += (text[at] - '0') * scale;
        }
      }
    }
  }
  const absl::StatusOr<std::optional<int>> zone = ReadZone(text.substr(at));
  if (!zone.ok()) return bad;
  const std::time_t seconds = *zone ? timegm(&parts) - **zone : mktime(&parts);
  return std::chrono::system_clock::from_time_t(seconds) +
         std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(fraction));
}

int Fail(Streams& streams, const std::string& text) { return cli::Fail(streams, "render", text); }

}  // namespace

int Render(const Arguments& arguments, Streams& streams) {
  std::string path;
  jinja::RenderOptions render;
  render.input_paths.clear();  // where text came from is of no interest here
  render.trusted_paths.clear();
  Options options("render", "render --template FILE [--now ISO8601] < VARIABLES",
                  "Renders a chat template; its variables are one JSON object on standard input.");
  options.Text("template", "FILE", "the Jinja template",
               [&](const std::string& text) { path = text; });
  options.Parsed("now", "ISO8601", "what strftime_now() tells, local time unless it has a zone",
                 [&](const std::string& text) -> absl::Status {
                   SL_ASSIGN_OR_RETURN(render.now, ReadTime(text));
                   return absl::OkStatus();
                 });
  std::optional<int> end;
  const Arguments rest = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (path.empty()) return Fail(streams, "--template FILE is needed");
  if (!rest.empty()) return Fail(streams, Cat("unexpected argument ", Quoted(rest[0])));

  const absl::StatusOr<std::string> source = ReadFile(path);
  if (!source.ok()) return Fail(streams, Message(source.status()));
  const absl::StatusOr<std::string> text = ReadAll(streams.in);
  if (!text.ok()) return Fail(streams, Cat("standard input: ", Message(text.status())));
  const auto variables = jinja::ParseVariables(*text);
  if (!variables.ok()) {
    return Fail(streams, Cat("standard input: ", Message(variables.status())));
  }
  const absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(*source);
  if (!parsed.ok()) return Fail(streams, Cat(path, ": ", Message(parsed.status())));
  const absl::StatusOr<jinja::Rendered> rendered = parsed->Render(*variables, render);
  if (!rendered.ok()) return Fail(streams, Cat(path, ": ", Message(rendered.status())));
  streams.out << rendered->text << std::flush;
  return kDone;
}

}  // namespace shardline::cli
