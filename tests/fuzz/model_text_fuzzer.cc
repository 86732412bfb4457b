// What the gateway reads beside a model's weights: configuration, generation defaults, special
// tokens, chat template and tokenizer, all from one folder. The input is a JSON object of the
// files by their names (a text is a file's bytes, anything else its JSON), or a whole GGUF file
// that lies in a folder with such files. Loading ends in a model's text or in a one-line error, and
// what it warns of is one line each.
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "gateway/model_text.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/mutate.h"

namespace shardline {
namespace {

constexpr const char* kFiles[] = {
    "config.json",    "generation_config.json",  "tokenizer_config.json",
    "tokenizer.json", "special_tokens_map.json", "chat_template.jinja",
    "tokenizer.model"};

bool OneLine(std::string_view text) {
  return !text.empty() && text.find('\n') == std::string_view::npos;
}

void Check(const std::string& path) {
  if (ModelNameOf(path).empty()) std::abort();
  const auto text = LoadModelText(path);
  if (!text.ok()) {
    if (!OneLine(Message(text.status()))) std::abort();
    return;
  }
  for (const std::string& warning : text->warnings) {
    if (!OneLine(warning)) std::abort();
  }
  if (!text->chat_template.ok() && !OneLine(Message(text->chat_template.status()))) std::abort();
  for (const auto& [name, token] : text->template_tokens.items()) {
    if (!token.is_string()) std::abort();
  }
}

void CheckFolder(std::string_view data) {
  static const fuzz::Folder folder("model_text_fuzzer");
  const auto files = nlohmann::json::parse(data, nullptr, false);
  for (const char* name : kFiles) {
    const auto file = files.is_object() ? files.find(name) : files.end();
    if (file == files.end()) {
      std::filesystem::remove(Cat(folder.path(), "/", name));
    } else {
      folder.Write(name, file->is_string() ? file->get<std::string>()
                                           : file->dump(-1, ' ', false,
                                                        nlohmann::json::error_handler_t::replace));
    }
  }
  Check(folder.path());
}

void CheckGguf(std::string_view data) {
  static const fuzz::Folder folder("model_text_fuzzer_gguf");
  static const std::string beside = folder.Write(
      "tokenizer.json",
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
  static_cast<void>(beside);
  Check(folder.Write("model.gguf", data));
}

}  // namespace
}  // namespace shardline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  text.starts_with("GGUF") ? shardline::CheckGguf(text) : shardline::CheckFolder(text);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  const bool gguf = std::string_view(reinterpret_cast<const char*>(data), size).starts_with("GGUF");
  return shardline::fuzz::Apply(gguf ? shardline::fuzz::MutateGguf : shardline::fuzz::MutateJson,
                                data, size, max_size, seed);
}
