#include "gateway/model_text.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "gateway/capabilities.h"
#include "shared/base/file.h"
#include "shared/format/gguf.h"

namespace shardline {
namespace {

// ---- EOS ids

constexpr size_t kMaxEosIds = 1024;

// eos_token_id is an id, or a list of ids.
absl::Status AddEosIds(const nlohmann::json& config, const std::string& file,
                       std::vector<uint32_t>& eos_ids) {
  const auto eos = config.find("eos_token_id");
  if (eos == config.end() || eos->is_null()) return absl::OkStatus();
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX ||
        eos_ids.size() == kMaxEosIds) {
      return InvalidArgument(file, ": eos_token_id must be an id or a list of few");
    }
    const auto value = id.get<uint32_t>();
    if (std::find(eos_ids.begin(), eos_ids.end(), value) == eos_ids.end()) eos_ids.push_back(value);
    return absl::OkStatus();
  };
  if (!eos->is_array()) return add(*eos);
  for (const nlohmann::json& id : *eos) SL_RETURN_IF_ERROR(add(id));
  return absl::OkStatus();
}

void AddEosIds(const Tokenizer& tokenizer, std::vector<uint32_t>& eos_ids) {
  for (const uint32_t id : tokenizer.eos_ids()) {
    if (std::find(eos_ids.begin(), eos_ids.end(), id) == eos_ids.end()) eos_ids.push_back(id);
  }
}

// ---- generation_config.json

// A default from the model's file must be in the range that a request's value must be in, and
// `whole` where the request's field is an integer.
std::optional<double> DefaultOf(const nlohmann::json& config, const char* key, bool whole,
                                ModelText& text) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return std::nullopt;
  const Parameter& range = *FindParameter(Cat("sampling.", key));
  const double value = found->is_number() ? found->get<double>() : NAN;
  const bool fits = std::isfinite(value) && value <= *range.max &&
                    (range.min_exclusive ? value > *range.min : value >= *range.min) &&
                    (!whole || value == std::floor(value));
  if (fits) return value;
  text.warnings.push_back(
      Cat("generation_config.json: ", key, " ",
          found->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 80),
          " is out of range and not used"));
  return std::nullopt;
}

void ReadGenerationConfig(const nlohmann::json& config, ModelText& text) {
  const auto read = [&](const char* key) -> std::optional<float> {
    const auto value = DefaultOf(config, key, false, text);
    if (!value.has_value()) return std::nullopt;
    return static_cast<float>(*value);
  };
  text.defaults.temperature = read("temperature");
  text.defaults.top_p = read("top_p");
  text.defaults.min_p = read("min_p");
  text.defaults.typical_p = read("typical_p");
  text.defaults.repetition_penalty = read("repetition_penalty");
  if (const auto top_k = DefaultOf(config, "top_k", true, text); top_k.has_value()) {
    text.defaults.top_k = static_cast<uint32_t>(*top_k);
  }
}

// ---- chat template

constexpr size_t kMaxTemplateBytes = size_t{16}
                                     << 20;  // the interpreter has its own, smaller limit

void SetTemplate(std::string_view source, const std::string& where, ModelText& text) {
  text.chat_template = jinja::Template::Parse(source);
  if (!text.chat_template.ok()) {
    text.warnings.push_back(Cat(where, ": ", Message(text.chat_template.status())));
  }
}

void SetToolTemplate(std::string_view source, const std::string& where, ModelText& text) {
  auto parsed = jinja::Template::Parse(source);
  if (parsed.ok()) {
    text.tool_template = *std::move(parsed);
  } else {
    text.warnings.push_back(Cat(where, ": tool_use: ", Message(parsed.status())));
  }
}

// tokenizer_config.json's chat_template: a string, which is the default, or a list of {name,
// template}.
std::optional<std::string> TemplateIn(const nlohmann::json& tokenizer_config,
                                      std::string_view name) {
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end()) return std::nullopt;
  if (found->is_string() && name == "default") return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const nlohmann::json& named : *found) {
    if (!named.is_object() || named.value("name", nlohmann::json()) != name) continue;
    const nlohmann::json source = named.value("template", nlohmann::json());
    if (source.is_string()) return source.get<std::string>();
  }
  return std::nullopt;
}

// A template in a file of its own comes before what tokenizer_config.json has.
absl::Status ReadTemplates(const std::string& path, const nlohmann::json& tokenizer_config,
                           ModelText& text) {
  const std::string config_path = Cat(path, "/tokenizer_config.json");
  const std::string jinja_path = Cat(path, "/chat_template.jinja");
  const std::string tool_path = Cat(path, "/additional_chat_templates/tool_use.jinja");
  const absl::StatusOr<std::string> source = ReadWholeFile(jinja_path, kMaxTemplateBytes);
  const absl::StatusOr<std::string> tools = ReadWholeFile(tool_path, kMaxTemplateBytes);
  for (const auto& file : {source, tools}) {
    if (!file.ok() && !absl::IsNotFound(file.status())) return file.status();
  }
  if (tools.ok()) SetToolTemplate(*tools, tool_path, text);
  if (source.ok()) {
    SetTemplate(*source, jinja_path, text);
    return absl::OkStatus();
  }
  if (const auto named = TemplateIn(tokenizer_config, "default"); named.has_value()) {
    SetTemplate(*named, config_path, text);
  } else if (tokenizer_config.contains("chat_template")) {
    text.warnings.push_back(Cat(config_path,
                                ": chat_template is neither text nor a list with a "
                                "default and is not used"));
  }
  if (const auto named = TemplateIn(tokenizer_config, "tool_use"); named.has_value()) {
    SetToolTemplate(*named, config_path, text);
  }
  return absl::OkStatus();
}

// The variables of special tokens that transformers passes to a template: their texts.
void AddTemplateTokens(const nlohmann::json& config, Json& tokens) {
  static constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
  for (const char* name : kNames) {
    const auto found = config.find(name);
    if (found == config.end() || tokens.contains(name)) continue;
    if (found->is_string()) tokens[name] = found->get<std::string>();
    if (found->is_object() && found->value("content", nlohmann::json()).is_string()) {
      tokens[name] = found->at("content").get<std::string>();
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
absl::StatusOr<nlohmann::json> ReadOptional(const std::string& path) {
  absl::StatusOr<nlohmann::json> json = ReadJsonFile(path);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

// Tokens without a row in the embedding: a prompt that has one is refused.
void WarnOfMissingRows(const nlohmann::json& config, const std::string& path, ModelText& text) {
  const auto rows = config.find("vocab_size");
  if (text.tokenizer == nullptr || rows == config.end() || !rows->is_number_unsigned()) return;
  if (text.tokenizer->size() <= rows->get<uint64_t>()) return;
  std::error_code error;
  const bool in_json = std::filesystem::exists(Cat(path, "/tokenizer.json"), error);
  text.warnings.push_back(Cat(path, in_json ? "/tokenizer.json: " : ": the tokenizer's ",
                              "ids reach ", text.tokenizer->size(),
                              ", past config.json's vocab_size ", rows->get<uint64_t>()));
}

// Other tools' vocabularies, which are not read.
void WarnOfOtherTokenizers(const std::string& path, ModelText& text) {
  for (const char* name :
       {"tekken.json", "vocab.json", "qwen.tiktoken", "sentencepiece.bpe.model"}) {
    const std::string file = Cat(path, "/", name);
    std::error_code error;
    if (text.tokenizer != nullptr || !std::filesystem::exists(file, error)) continue;
    text.warnings.push_back(Cat(file,
                                ": is not read, so the model takes token_ids alone; for text, put ",
                                "the model's tokenizer.json beside it, or serve a GGUF file"));
  }
}

// All but the weights of a directory in Hugging Face's layout. `config`: its config.json.
absl::StatusOr<ModelText> LoadTextFiles(const std::string& path, const nlohmann::json& config) {
  ModelText text;
  const std::string config_path = Cat(path, "/config.json");
  const std::string generation_path = Cat(path, "/generation_config.json");
  const std::string tokenizer_path = Cat(path, "/tokenizer_config.json");
  SL_ASSIGN_OR_RETURN(const nlohmann::json generation, ReadOptional(generation_path));
  SL_ASSIGN_OR_RETURN(const nlohmann::json tokenizer, ReadOptional(tokenizer_path));
  SL_ASSIGN_OR_RETURN(const nlohmann::json tokens,
                      ReadOptional(Cat(path, "/special_tokens_map.json")));
  ReadGenerationConfig(generation, text);
  SL_RETURN_IF_ERROR(AddEosIds(generation, generation_path, text.eos_ids));
  SL_RETURN_IF_ERROR(AddEosIds(config, config_path, text.eos_ids));
  if (const auto inner = config.find("text_config"); inner != config.end() && inner->is_object()) {
    SL_RETURN_IF_ERROR(AddEosIds(*inner, config_path, text.eos_ids));
  }
  auto loaded = TokenizerFromDirectory(path);
  if (!loaded.ok() && !absl::IsNotFound(loaded.status())) return loaded.status();
  if (loaded.ok()) text.tokenizer = *std::move(loaded);
  WarnOfMissingRows(config, path, text);
  WarnOfOtherTokenizers(path, text);

  AddTemplateTokens(tokenizer, text.template_tokens);
  AddTemplateTokens(tokens, text.template_tokens);
  SL_RETURN_IF_ERROR(ReadTemplates(path, tokenizer, text));
  return text;
}

absl::StatusOr<ModelText> LoadDirectory(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const nlohmann::json config, ReadJsonFile(Cat(path, "/config.json")));
  return LoadTextFiles(path, config);
}

// A file without a vocabulary, as candle writes them, may have Hugging Face's files beside it.
absl::StatusOr<ModelText> LoadFilesBeside(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string folder = parent.empty() ? std::string(".") : parent;
  const auto has = [&folder](const char* name) {
    std::error_code error;
    return std::filesystem::exists(Cat(folder, "/", name), error);
  };
  if (!has("tokenizer.json") && !has("tokenizer.model") && !has("spiece.model")) {
    return ModelText();
  }
  SL_ASSIGN_OR_RETURN(const nlohmann::json config, ReadOptional(Cat(folder, "/config.json")));
  return LoadTextFiles(folder, config);
}

absl::StatusOr<ModelText> LoadGguf(const std::string& path) {
  ModelText text;
  SL_ASSIGN_OR_RETURN(const auto file, GgufFile::Open(path));
  auto tokenizer = TokenizerFromGguf(*file);
  if (!tokenizer.ok() && !absl::IsFailedPrecondition(tokenizer.status())) {
    return Annotate(tokenizer.status(), path);
  }
  if (!tokenizer.ok()) return LoadFilesBeside(path);
  text.tokenizer = *std::move(tokenizer);
  if (const auto source = file->String("tokenizer.chat_template"); source.has_value()) {
    SetTemplate(*source, Cat(path, ": tokenizer.chat_template"), text);
  } else if (file->Find("tokenizer.chat_template") != nullptr) {
    text.warnings.push_back(Cat(path, ": tokenizer.chat_template is no text and is not used"));
  }
  if (const auto source = file->String("tokenizer.chat_template.tool_use"); source.has_value()) {
    SetToolTemplate(*source, Cat(path, ": tokenizer.chat_template"), text);
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
    text->tool_template.reset();
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
