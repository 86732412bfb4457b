// Any bytes as a chat template: parsing and rendering end within their limits, in text whose input
// ranges are in order, or in a one-line error. What follows a NUL byte are the variables, as JSON;
// without one the template gets a conversation with tools.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/text/jinja/template.h"
#include "gateway/text/jinja/unicode.h"
#include "gateway/text/jinja/variables.h"
#include "shared/base/status.h"

namespace shardline::jinja {
namespace {

constexpr std::string_view kConversation = R"({
  "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "n": 3, "f": -2.5,
  "big": 340282366920938463463, "s": "Grüße, <b>\n 日本語\u2028 😀", "l": [3, "a", null, [1, 2]],
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
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) {
    shardline::jinja::Check(text, shardline::jinja::kConversation);
  } else {
    shardline::jinja::Check(text.substr(0, end), text.substr(end + 1));
  }
  return 0;
}
