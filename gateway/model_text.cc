#include "gateway/model_text.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "gateway/capabilities.h"
#include "shared/format/gguf.h"

namespace shardline {
namespace {

// ---- EOS ids

// An id, or a list of ids; anything else is nothing.
void AddEosIds(const Json& config, std::vector<uint32_t>& eos_ids) {
  const auto add = [&eos_ids](const Json& id) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > UINT32_MAX) return;
    const auto value = id.get<uint32_t>();
    if (std::find(eos_ids.begin(), eos_ids.end(), value) == eos_ids.end()) eos_ids.push_back(value);
  };
  const auto eos = config.find("eos_token_id");
  if (eos == config.end()) return;
  if (!eos->is_array()) return add(*eos);
  for (const Json& id : *eos) add(id);
}

void AddEosIds(const Tokenizer& tokenizer, std::vector<uint32_t>& eos_ids) {
  for (const uint32_t id : tokenizer.eos_ids()) {
    if (std::find(eos_ids.begin(), eos_ids.end(), id) == eos_ids.end()) eos_ids.push_back(id);
  }
}

// ---- generation_config.json

// A default from the model's file must be in the range that a request's value must be in.
std::optional<double> DefaultOf(const Json& config, const char* key, ModelText& text) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return std::nullopt;
  const Parameter& range = *FindParameter(Cat("sampling.", key));
  const double value = found->is_number() ? found->get<double>() : NAN;
  const bool fits = std::isfinite(value) && value <= *range.max &&
                    (range.min_exclusive ? value > *range.min : value >= *range.min);
  if (fits) return value;
  text.warnings.push_back(
      Cat("generation_config.json: ", key, " ", found->dump(), " is out of range and not used"));
  return std::nullopt;
}

void ReadGenerationConfig(const Json& config, ModelText& text) {
  const auto read = [&](const char* key) -> std::optional<float> {
    const auto value = DefaultOf(config, key, text);
    if (!value.has_value()) return std::nullopt;
    return static_cast<float>(*value);
  };
  text.defaults.temperature = read("temperature");
  text.defaults.top_p = read("top_p");
  text.defaults.min_p = read("min_p");
  text.defaults.typical_p = read("typical_p");
  text.defaults.repetition_penalty = read("repetition_penalty");
  if (const auto top_k = DefaultOf(config, "top_k", text); top_k.has_value()) {
    text.defaults.top_k = static_cast<uint32_t>(*top_k);
  }
}

// ---- chat template

void SetTemplate(std::string_view source, const std::string& where, ModelText& text) {
  text.chat_template = jinja::Template::Parse(source);
  if (!text.chat_template.ok()) {
    text.warnings.push_back(Cat(where, ": ", Message(text.chat_template.status())));
  }
}

// tokenizer_config.json's chat_template: a string, or a list of {name, template}.
std::optional<std::string> TemplateIn(const Json& tokenizer_config) {
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const Json& named : *found) {
    if (!named.is_object() || named.value("name", Json()) != "default") continue;
    const Json source = named.value("template", Json());
    if (source.is_string()) return source.get<std::string>();
  }
  return std::nullopt;
}

// The variables of special tokens that transformers passes to a template: their texts.
void AddTemplateTokens(const Json& config, Json& tokens) {
  static constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
  for (const char* name : kNames) {
    const auto found = config.find(name);
    if (found == config.end() || tokens.contains(name)) continue;
    if (found->is_string()) tokens[name] = *found;
    if (found->is_object() && found->value("content", Json()).is_string()) {
      tokens[name] = found->at("content");
    }
  }
}

void AddTemplateTokens(const Tokenizer& tokenizer, Json& tokens) {
  const auto add = [&tokens](const char* name, std::string_view value) {
    if (!value.empty() && !tokens.contains(name)) tokens[name] = std::string(value);
  };
  add("bos_token", tokenizer.bos_text());
  add("eos_token", tokenizer.eos_text());
}

// ---- the two kinds of models

// A file that may be absent: an empty object then.
absl::StatusOr<Json> ReadOptional(const std::string& path) {
  absl::StatusOr<Json> json = ReadJsonFile(path);
  if (absl::IsNotFound(json.status())) return Json::object();
  return json;
}

absl::StatusOr<ModelText> LoadDirectory(const std::string& path) {
  ModelText text;
  SL_ASSIGN_OR_RETURN(const Json config, ReadJsonFile(Cat(path, "/config.json")));
  SL_ASSIGN_OR_RETURN(const Json generation, ReadOptional(Cat(path, "/generation_config.json")));
  SL_ASSIGN_OR_RETURN(const Json tokenizer, ReadOptional(Cat(path, "/tokenizer_config.json")));
  SL_ASSIGN_OR_RETURN(const Json tokens, ReadOptional(Cat(path, "/special_tokens_map.json")));
  ReadGenerationConfig(generation, text);
  AddEosIds(generation, text.eos_ids);
  AddEosIds(config, text.eos_ids);
  if (const auto inner = config.find("text_config"); inner != config.end() && inner->is_object()) {
    AddEosIds(*inner, text.eos_ids);
  }
  auto loaded = TokenizerFromDirectory(path);
  if (!loaded.ok() && !absl::IsNotFound(loaded.status())) return loaded.status();
  if (loaded.ok()) text.tokenizer = *std::move(loaded);

  AddTemplateTokens(tokenizer, text.template_tokens);
  AddTemplateTokens(tokens, text.template_tokens);
  const std::string jinja_path = Cat(path, "/chat_template.jinja");
  const absl::StatusOr<std::string> source = ReadTextFile(jinja_path);
  if (source.ok()) {
    SetTemplate(*source, jinja_path, text);
  } else if (!absl::IsNotFound(source.status())) {
    return source.status();
  } else if (const auto in_config = TemplateIn(tokenizer); in_config.has_value()) {
    SetTemplate(*in_config, Cat(path, "/tokenizer_config.json"), text);
  }
  return text;
}

absl::StatusOr<ModelText> LoadGguf(const std::string& path) {
  ModelText text;
  SL_ASSIGN_OR_RETURN(const auto file, GgufFile::Open(path));
  auto tokenizer = TokenizerFromGguf(*file);
  if (!tokenizer.ok() && !absl::IsFailedPrecondition(tokenizer.status())) {
    return Annotate(tokenizer.status(), path);
  }
  if (tokenizer.ok()) text.tokenizer = *std::move(tokenizer);
  if (const auto source = file->String("tokenizer.chat_template"); source.has_value()) {
    SetTemplate(*source, Cat(path, ": tokenizer.chat_template"), text);
  }
  return text;
}

}  // namespace

absl::StatusOr<ModelText> LoadModelText(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return NotFound("--model ", path, ": no such file or directory");
  }
  absl::StatusOr<ModelText> text =
      std::filesystem::is_directory(status) ? LoadDirectory(path) : LoadGguf(path);
  if (!text.ok()) return text;
  if (text->tokenizer != nullptr) {
    AddEosIds(*text->tokenizer, text->eos_ids);
    AddTemplateTokens(*text->tokenizer, text->template_tokens);
    for (uint32_t id = 0; id < text->tokenizer->size(); ++id) {
      text->longest_token_bytes =
          std::max(text->longest_token_bytes, text->tokenizer->Raw(id).size());
    }
  } else {
    text->chat_template = NotFound("the model has no tokenizer, so no chat");
  }
  return text;
}

std::string ModelNameOf(const std::string& path) {
  std::filesystem::path name(path);
  if (name.filename().empty()) name = name.parent_path();
  std::string text = name.filename().string();
  if (text == "." || text == ".." || text.empty()) {
    std::error_code error;
    text = std::filesystem::canonical(name, error).filename().string();
  }
  if (text.size() > 5 && text.ends_with(".gguf")) text.resize(text.size() - 5);
  return text;
}

}  // namespace shardline
