// Chat templates: the Jinja2 language as Hugging Face models use it (Python's jinja2 3.1 with the
// immutable sandbox, trim_blocks, lstrip_blocks, loop controls and {% generation %} blocks; no
// autoescaping; Hugging Face's tojson, raise_exception and strftime_now).
//
// A rendering also tells which bytes came from input (message contents), so that the tokenizer can
// keep to special tokens that the template itself wrote.
//
//   SL_ASSIGN_OR_RETURN(const auto chat, jinja::Template::Parse(source));
//   SL_ASSIGN_OR_RETURN(const jinja::Rendered prompt, chat.Render({{"messages", …}}, {}));
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/text/jinja/options.h"

namespace shardline::jinja {

struct TemplateTree;

class Template {
 public:
  // InvalidArgument "chat template line N: reason" when `source` is not a template. Takes any
  // bytes, with bounded time, memory and depth.
  static absl::StatusOr<Template> Parse(std::string_view source);

  // `variables` is an object. InvalidArgument "chat template line N: reason" when the template
  // fails, refuses (see RaisedMessage) or passes a limit. May be called from several threads at
  // once.
  absl::StatusOr<Rendered> Render(const nlohmann::ordered_json& variables,
                                  const RenderOptions& options) const;

 private:
  explicit Template(std::shared_ptr<const TemplateTree> tree) : tree_(std::move(tree)) {}
  std::shared_ptr<const TemplateTree> tree_;
};

// The words of raise_exception(message) when that is why `status` is an error.
std::optional<std::string> RaisedMessage(const absl::Status& status);

}  // namespace shardline::jinja
