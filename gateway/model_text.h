// What the gateway itself reads of a model: tokenizer, chat template, generation defaults, EOS ids.
// The weights are the worker's. Immutable after loading, used from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/json.h"
#include "gateway/text/jinja/template.h"
#include "gateway/text/tokenizer/tokenizer.h"
#include "shardline/v1/inference.pb.h"
#include "shared/wire/sampling.h"

namespace shardline {

struct ModelText {
  std::unique_ptr<Tokenizer> tokenizer;  // null: the model serves token_ids alone
  size_t longest_token_bytes = 0;        // of the tokenizer's ids
  // The model's chat template; not OK says why there is none that works.
  absl::StatusOr<jinja::Template> chat_template =
      NotFound("the model has no chat template: send text or token_ids instead");
  std::optional<jinja::Template> tool_template;  // in its place where a request has `tools`
  Json template_tokens = Json::object();         // bos_token, eos_token, … as templates see them
  SamplingDefaults defaults;
  std::vector<uint32_t> eos_ids;  // generation_config.json, config.json and the tokenizer together
  std::vector<std::string> warnings;  // lines for the operator: what was found and is not used
};

// `path`: a .gguf file or a directory. Errors: NotFound and InvalidArgument naming the file.
absl::StatusOr<ModelText> LoadModelText(const std::string& path);

// The name that clients use where --model-name is not given: the file's or directory's, without
// ".gguf".
std::string ModelNameOf(const std::string& path);

}  // namespace shardline
