// Any bytes as a chat template, or as a list of them: parsing and rendering end within their
// limits, in text whose input ranges are in order, or in a one-line error. What follows a NUL byte
// are the variables, as JSON; without one the template gets a conversation with tools.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/text/jinja/template.h"
#include "gateway/text/jinja/unicode.h"
#include "gateway/text/jinja/variables.h"
#include "shared/base/quoted.h"
#include "shared/base/status.h"
#include "tests/fuzz/mutate.h"

namespace shardline::jinja {
namespace {

constexpr std::string_view kConversation = R"({
  "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "n": 5, "f": 2.5,
  "big": 1234567890123456789, "huge": 170141183460469231731687303715884105727, "neg": -7,
  "t": true, "z": null, "e": "", "s": "Hello, World", "u": "Grüße, <b>\n ΑΣ ǆ 日本語\u2028 😀",
  "multi": "line1\n  line2\n\nline4\r\nend\n", "l": [3, 1, 2], "ls": ["b", "A", "c"],
  "mixed": [3, "a", null, [1, 2], {"k": 1.5}], "d": {"b": 1, "a": {"x": [1, 2]}, "items": "k"},
  "deep": {"a": [{"b": {"c": 1}}]}, "links": "http://a.org/b?c=d&e, (www.x.org) <me@y.net>.",
  "users": [{"name": "Bob", "age": 3, "tags": ["x"]}, {"name": "alice", "age": 2},
            {"name": "Carl", "age": 3, "tags": []}],
  "messages": [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Zürich?"},
    {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
      {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {"x": 1.5}}}]},
    {"role": "tool", "content": "{\"sky\": 1}", "tool_call_id": "abcdefghi", "name": "f"},
    {"role": "user", "content": [{"type": "text", "text": "Thanks"}, {"type": "image"}]}],
  "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {
    "type": "object", "properties": {"x": {"type": ["number", "null"], "enum": [1, 2]}},
    "required": ["x"]}}}],
  "documents": [{"title": "T", "text": "First."}]
})";

RenderOptions Options() {
  RenderOptions options;
  options.limits.steps = 100'000;
  options.limits.output_bytes = size_t{1} << 18;
  options.limits.value_bytes = size_t{16} << 20;
  options.now = std::chrono::system_clock::from_time_t(1'700'000'000);
  return options;
}

void CheckError(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) std::abort();
  if (Message(status).find('\n') != std::string::npos) std::abort();
  // What a template itself says may have lines.
  if (const auto raised = RaisedMessage(status); raised.has_value()) {
    if (!Message(status).ends_with(OneLine(*raised, raised->size()))) std::abort();
  }
}

void CheckRendered(const Rendered& rendered, const RenderLimits& limits) {
  if (rendered.text.size() > limits.output_bytes || !IsValidUtf8(rendered.text)) std::abort();
  size_t at = 0;
  for (const Range& range : rendered.input_ranges) {
    if (range.begin < at || range.end <= range.begin) std::abort();
    at = range.end;
  }
  if (at > rendered.text.size()) std::abort();
}

void Check(std::string_view source, std::string_view variables_text) {
  const auto variables = ParseVariables(variables_text);
  if (!variables.ok()) return CheckError(variables.status());
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return CheckError(parsed.status());
  static const RenderOptions options = Options();
  const auto rendered = parsed->Render(*variables, options);
  if (!rendered.ok()) return CheckError(rendered.status());
  CheckRendered(*rendered, options.limits);
}

}  // namespace
}  // namespace shardline::jinja

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using shardline::jinja::Check;
  using shardline::jinja::kConversation;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\0');
  if (text.starts_with("# ")) {
    shardline::fuzz::ForEachTemplate(text,
                                     [](std::string_view source) { Check(source, kConversation); });
  } else if (end == std::string_view::npos) {
    Check(text, kConversation);
  } else {
    Check(text.substr(0, end), text.substr(end + 1));
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return shardline::fuzz::Apply(shardline::fuzz::MutateTemplate, data, size, max_size, seed);
}
