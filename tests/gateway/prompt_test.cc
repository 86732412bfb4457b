// A model's text side from a directory, and prompts through it.
#include "gateway/prompt.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "gateway/field_error.h"
#include "gateway/text_pool.h"
#include "tests/gateway/fake_tokenizer.h"

namespace shardline {
namespace {

class Directory {
 public:
  Directory() : path_(testing::TempDir() + "model-XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ModelText, ADirectorysDefaultsAndEosIds) {
  Directory directory;
  directory.Write("config.json", R"({"eos_token_id": 7})");
  directory.Write("generation_config.json",
                  R"({"eos_token_id": [5, 7], "temperature": 0.6, "top_k": 20, "top_p": null,
                      "do_sample": false, "repetition_penalty": 1.1, "min_p": 5})");
  const auto text = LoadModelText(directory.path());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->tokenizer, nullptr);
  EXPECT_FALSE(text->chat_template.ok());
  EXPECT_EQ(text->eos_ids, (std::vector<uint32_t>{5, 7}));
  EXPECT_FLOAT_EQ(text->defaults.temperature.value(), 0.6f);
  EXPECT_EQ(text->defaults.top_k, 20u);
  EXPECT_FLOAT_EQ(text->defaults.repetition_penalty.value(), 1.1f);
  EXPECT_FALSE(text->defaults.top_p.has_value());
  EXPECT_FALSE(text->defaults.min_p.has_value());  // out of range: not used, and said so
  ASSERT_EQ(text->warnings.size(), 1u);
  EXPECT_NE(text->warnings[0].find("min_p"), std::string::npos);
}

TEST(ModelText, TopKOfTheModelIsAWholeNumber) {
  Directory directory;
  directory.Write("config.json", "{}");
  directory.Write("generation_config.json", R"({"top_k": 5.0})");
  EXPECT_EQ(LoadModelText(directory.path())->defaults.top_k, 5u);
  directory.Write("generation_config.json", R"({"top_k": 1.5})");
  const auto text = LoadModelText(directory.path());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_FALSE(text->defaults.top_k.has_value());
  EXPECT_EQ(text->warnings.size(), 1u);
}

constexpr char kTokenizer[] = R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1},
                                  "merges": []}, "added_tokens": []})";

TEST(ModelText, AnotherToolsVocabularyIsToldOf) {
  Directory directory;
  directory.Write("config.json", "{}");
  directory.Write("tekken.json", "{}");
  auto text = LoadModelText(directory.path());
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_EQ(text->warnings.size(), 1u);
  EXPECT_NE(text->warnings[0].find("tekken.json: is not read"), std::string::npos);
  directory.Write("tokenizer.json", kTokenizer);
  text = LoadModelText(directory.path());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_NE(text->tokenizer, nullptr);
  EXPECT_TRUE(text->warnings.empty());
}

TEST(ModelText, TheTemplateForToolsIsUsedWithTools) {
  v1::ChatPrompt plain, with_tools;
  for (v1::ChatPrompt* chat : {&plain, &with_tools}) chat->add_messages()->set_role("user");
  with_tools.set_template_arguments_json(R"({"tools": [1]})");
  const auto render = [](const std::string& path, const v1::ChatPrompt& chat) -> std::string {
    const auto text = LoadModelText(path);
    EXPECT_TRUE(text.ok()) << text.status();
    const auto rendered = RenderPrompt(*text, chat, false);
    return rendered.ok() ? rendered->text : Message(rendered.status());
  };
  Directory directory;
  directory.Write("config.json", "{}");
  directory.Write("tokenizer.json", kTokenizer);
  directory.Write("tokenizer_config.json", R"({"chat_template": [
      {"name": "tool_use", "template": "a{{ tools }}"}, {"name": "default", "template": "b"}]})");
  EXPECT_EQ(render(directory.path(), plain), "b");
  EXPECT_EQ(render(directory.path(), with_tools), "a[1]");
  directory.Write("chat_template.jinja", "c");
  EXPECT_EQ(render(directory.path(), plain), "c");
  EXPECT_EQ(render(directory.path(), with_tools), "c");
  std::filesystem::create_directory(directory.path() + "/additional_chat_templates");
  directory.Write("additional_chat_templates/tool_use.jinja", "d");
  EXPECT_EQ(render(directory.path(), plain), "c");
  EXPECT_EQ(render(directory.path(), with_tools), "d");
}

TEST(ModelText, AGgufFileWithoutVocabularyTakesTheFilesBesideIt) {
  Directory directory;
  std::filesystem::copy(SHARDLINE_SOURCE_DIR "/tests/golden/gguf_of_chatglm/model.gguf",
                        directory.path());
  auto text = LoadModelText(directory.path() + "/model.gguf");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->tokenizer, nullptr);
  EXPECT_TRUE(text->warnings.empty());
  directory.Write("tokenizer.json", kTokenizer);
  directory.Write("generation_config.json", R"({"eos_token_id": [1]})");
  text = LoadModelText(directory.path() + "/model.gguf");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_NE(text->tokenizer, nullptr);
  EXPECT_EQ(text->eos_ids, (std::vector<uint32_t>{1}));
}

TEST(ModelText, BrokenModelsAreOneLineThatNamesTheFile) {
  EXPECT_NE(Message(LoadModelText("/nonexistent").status()).find("/nonexistent"),
            std::string::npos);
  Directory directory;
  EXPECT_NE(Message(LoadModelText(directory.path()).status()).find("config.json"),
            std::string::npos);
  directory.Write("config.json", "{}");
  for (const char* broken : {"{", "[]", "{\"a\": nope}", ""}) {
    directory.Write("generation_config.json", broken);
    const absl::Status status = LoadModelText(directory.path()).status();
    EXPECT_NE(Message(status).find("generation_config.json: "), std::string::npos) << status;
    EXPECT_EQ(Message(status).find('\n'), std::string::npos);
  }
  directory.Write("model.gguf", "not a model");
  EXPECT_NE(Message(LoadModelText(directory.path() + "/model.gguf").status()).find("model.gguf"),
            std::string::npos);
}

TEST(ModelText, NamesOfModels) {
  EXPECT_EQ(ModelNameOf("/a/b/Tiny.Q4_1.gguf"), "Tiny.Q4_1");
  EXPECT_EQ(ModelNameOf("models/tiny"), "tiny");
  EXPECT_EQ(ModelNameOf("models/tiny/"), "tiny");
}

TEST(Json, DepthIsBoundedAndOrderIsKept) {
  EXPECT_EQ(ParseJsonObject(R"({"b": 1, "a": 18446744073709551615})")->dump(),
            R"({"b":1,"a":18446744073709551615})");
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_NE(Message(ParseJson(deep).status()).find("nested"), std::string::npos);
  EXPECT_FALSE(ParseJson("{\"a\":1}x").ok());
  EXPECT_FALSE(ParseJson("1e999").ok());
  EXPECT_FALSE(ParseJsonObject("3").ok());
}

TEST(Json, SizeIsBounded) {
  std::string values = "[", members = "{";
  for (int i = 0; i < 2100000; ++i) values += "1,";
  for (int i = 0; i < 20000; ++i) members += Cat("\"k", i, "\":1,");
  EXPECT_NE(Message(ParseJson(values + "1]").status()).find("values"), std::string::npos);
  // What keeps its order looks through all members for each new one.
  EXPECT_NE(Message(ParseJson(members + "\"z\":1}").status()).find("members"), std::string::npos);
}

class PromptTest : public testing::Test {
 protected:
  PromptTest() {
    text.tokenizer = std::make_unique<FakeTokenizer>();
    text.template_tokens["bos_token"] = "<bos>";
    SetTemplate(
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m.content }}|{{ m.name }}]"
        "{% endfor %}{{ extra }}{{ '>' if add_generation_prompt }}{{ tools }}");
  }
  void SetTemplate(const std::string& source) {
    text.chat_template = jinja::Template::Parse(source);
    ASSERT_TRUE(text.chat_template.ok()) << text.chat_template.status();
  }
  v1::ChatMessage* Say(const std::string& role, const std::string& content) {
    v1::ChatMessage* message = chat.add_messages();
    message->set_role(role);
    message->set_content(content);
    return message;
  }
  std::string Render() {
    const auto rendered = RenderPrompt(text, chat, false);
    EXPECT_TRUE(rendered.ok()) << rendered.status();
    return rendered.ok() ? rendered->text : "";
  }
  std::optional<std::string> Blamed(bool allow_request_templates = false) {
    const absl::Status status = RenderPrompt(text, chat, allow_request_templates).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return FieldOf(status);
  }

  ModelText text;
  v1::ChatPrompt chat;
};

TEST_F(PromptTest, TheTemplateSeesWhatTransformersPasses) {
  Say("user", "hi");
  chat.add_messages()->set_role("assistant");  // no content: None
  chat.mutable_messages(1)->set_extra_json(R"({"name": "n"})");
  EXPECT_EQ(Render(), "<bos>[user|hi|][assistant|None|n]>None");
  chat.set_add_generation_prompt(false);
  chat.set_template_arguments_json(R"({"extra": 12345678901234567, "tools": []})");
  EXPECT_EQ(Render(), "<bos>[user|hi|][assistant|None|n]12345678901234567[]");
}

TEST_F(PromptTest, ErrorsNameTheField) {
  EXPECT_EQ(Blamed(), "chat.messages");
  Say("user", "hi");
  v1::ChatMessage* message = Say("assistant", "x");
  for (const char* extra : {"{", "[]", R"({"role": "user"})", R"({"content": "y"})"}) {
    message->set_extra_json(extra);
    EXPECT_EQ(Blamed(), "chat.messages[1].extra_json") << extra;
  }
  message->clear_extra_json();
  for (const char* arguments :
       {"", "[]", R"({"messages": []})", R"({"add_generation_prompt": 1})"}) {
    chat.set_template_arguments_json(arguments);
    EXPECT_EQ(Blamed(), "chat.template_arguments_json") << arguments;
  }
  chat.clear_template_arguments_json();
  chat.set_chat_template("{{ 1 }}");
  EXPECT_EQ(Blamed(), "chat.chat_template");
  chat.set_chat_template("{% if %}");
  EXPECT_EQ(Blamed(true), "chat.chat_template");
  chat.clear_chat_template();
  SetTemplate("{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(Blamed(), "chat");
  text.chat_template = NotFound("the model has no chat template");
  EXPECT_EQ(Blamed(), "chat");
}

TEST_F(PromptTest, ARequestsTemplateIsUsedWhereAllowed) {
  Say("user", "hi");
  chat.set_chat_template("{{ messages[0].content }}!");
  EXPECT_EQ(RenderPrompt(text, chat, true)->text, "hi!");
}

TEST(SpecialTokensOf, TextAddsThemAndChatDoesNot) {
  v1::GenerateRequest request;
  request.set_text("x");
  EXPECT_TRUE(SpecialTokensOf(request).add);
  EXPECT_TRUE(SpecialTokensOf(request).parse);
  request.mutable_chat();
  EXPECT_FALSE(SpecialTokensOf(request).add);
  request.set_add_special_tokens(true);
  request.set_parse_special_tokens(false);
  EXPECT_TRUE(SpecialTokensOf(request).add);
  EXPECT_FALSE(SpecialTokensOf(request).parse);
}

TEST(TextPool, RunsWhatWasTakenAndNothingElse) {
  std::atomic<int> ran{0};
  TextPool pool;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.Post([&ran] { ++ran; }));
  pool.Stop();
  EXPECT_EQ(ran, 100);
  EXPECT_FALSE(pool.Post([&ran] { ++ran; }));
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace shardline
