#include "gateway/text/jinja/template.h"

#include <absl/strings/cord.h>

#include <exception>

#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/parser.h"
#include "gateway/text/jinja/unicode.h"
#include "shared/base/quoted.h"
#include "shared/base/status.h"

namespace shardline::jinja {

namespace {

constexpr char kRaisedPayload[] = "shardline/chat-template-raised";

absl::Status ToStatus(const Error& error, int line) {
  const int at = error.line > 0 ? error.line : line;
  absl::Status status = InvalidArgument("chat template line ", at, ": ",
                                        OneLine(error.message, error.message.size()));
  if (error.kind == ErrorKind::kRaised) {
    status.SetPayload(kRaisedPayload, absl::Cord(error.message));
  }
  return status;
}

}  // namespace

absl::StatusOr<Template> Template::Parse(std::string_view source) {
  if (!IsValidUtf8(source)) return InvalidArgument("chat template: the text is not valid UTF-8");
  try {
    return Template(std::make_shared<const TemplateTree>(ParseTemplate(source)));
  } catch (const Error& error) {
    return ToStatus(error, 1);
  } catch (const std::exception& error) {
    return InvalidArgument("chat template: ", error.what());
  }
}

absl::StatusOr<Rendered> Template::Render(const nlohmann::ordered_json& variables,
                                          const RenderOptions& options) const {
  if (!variables.is_object()) {
    return InvalidArgument("chat template: the variables are not a JSON object");
  }
  Budget budget;
  budget.max_steps = options.limits.steps;
  budget.max_live_bytes = options.limits.value_bytes;
  budget.max_text_bytes = options.limits.output_bytes;
  budget.max_nesting = options.limits.nesting;
  budget.stack_start = static_cast<const char*>(__builtin_frame_address(0));
  budget.max_stack_bytes = options.limits.stack_bytes;
  const UseBudget use(&budget);

  Interpreter interpreter(*tree_, variables, options);
  TextBuilder out;
  try {
    interpreter.Run(&out);
  } catch (const Error& error) {
    return ToStatus(error, interpreter.line());
  } catch (const std::exception& error) {
    return InvalidArgument("chat template line ", interpreter.line(), ": ", error.what());
  }
  Rendered rendered{out.TakeText(), out.TakeMarks()};
  if (!IsValidUtf8(rendered.text)) {
    return InvalidArgument("chat template: the rendering is not valid UTF-8");
  }
  return rendered;
}

std::optional<std::string> RaisedMessage(const absl::Status& status) {
  const auto payload = status.GetPayload(kRaisedPayload);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace shardline::jinja
