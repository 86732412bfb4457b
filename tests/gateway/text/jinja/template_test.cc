#include "gateway/text/jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "gateway/text/jinja/variables.h"
#include "shared/base/status.h"

namespace shardline::jinja {
namespace {

using Json = nlohmann::ordered_json;

// The rendering, or "error: …".
std::string Render(std::string_view source, const Json& variables = Json::object()) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return "error: " + Message(parsed.status());
  const auto rendered = parsed->Render(variables, {});
  return rendered.ok() ? rendered->text : "error: " + Message(rendered.status());
}

TEST(Template, RendersAConversation) {
  EXPECT_EQ(Render("{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}\n{% endfor %}",
                   {{"messages", {{{"role", "user"}, {"content", " hi "}}}}}),
            "<user>hi\n");
}

TEST(Template, KeepsIntegersAndTheOrderOfKeys) {
  EXPECT_EQ(
      Render("{{ x|tojson }}", *ParseVariables(R"({"x": {"b": 18446744073709551615, "a": -1}})")),
      R"({"b": 18446744073709551615, "a": -1})");
}

TEST(Template, ParseErrorsNameTheLineAndTheReason) {
  EXPECT_EQ(Render("a\n{{ x|nope }}"), "error: chat template line 2: No filter named 'nope'.");
  EXPECT_EQ(Render("{{ x is nope }}"), "error: chat template line 1: No test named 'nope'.");
  EXPECT_EQ(
      Render("\n\n{% if x %}"),
      "error: chat template line 3: Unexpected end of template. Jinja was looking for the "
      "following tags: 'elif' or 'else' or 'endif'. The innermost block that needs to be closed "
      "is 'if'.");
  EXPECT_EQ(Render("{% endfor %}"),
            "error: chat template line 1: Encountered unknown tag 'endfor'.");
  EXPECT_EQ(Render("{{ }}"),
            "error: chat template line 1: Expected an expression, got 'end of print statement'");
  EXPECT_EQ(Render("{% set 1 = 2 %}"), "error: chat template line 1: can't assign to 'const'");
  EXPECT_EQ(Render("{{ a b }}"),
            "error: chat template line 1: expected token 'end of print statement', got 'b'");
  EXPECT_EQ(Render("\xff"), "error: chat template: the text is not valid UTF-8");
}

TEST(Template, RunTimeErrorsNameTheLineAndTheReason) {
  EXPECT_EQ(Render("\n{{ x.y }}"), "error: chat template line 2: 'x' is undefined");
  EXPECT_EQ(Render("{{ d.x.y }}", {{"d", Json::object()}}),
            "error: chat template line 1: 'dict object' has no attribute 'x'");
  EXPECT_EQ(Render("{{ l[3].y }}", {{"l", Json::array()}}),
            "error: chat template line 1: list object has no element 3");
  EXPECT_EQ(
      Render("{{ l.append(1) }}", {{"l", Json::array()}}),
      "error: chat template line 1: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(Render("{{ 'a' + 1 }}"),
            "error: chat template line 1: can only concatenate str (not \"int\") to str");
  EXPECT_EQ(
      Render("{{ 1 if false else (2 if false) + 1 }}"),
      "error: chat template line 1: the inline if-expression on line 1 evaluated to false and no "
      "else section was defined.");
  EXPECT_EQ(
      Render("{% include 'x' %}"),
      "error: chat template line 1: {% include %}: chat templates cannot load other templates");
  EXPECT_EQ(Render("{{ 2 ** 200 }}"),
            "error: chat template line 1: an integer needs more than 128 bits");
  EXPECT_EQ(Render("x", Json::array()),
            "error: chat template: the variables are not a JSON object");
  EXPECT_EQ(Render("{{ '%\n' % 1 }}").find('\n'), std::string::npos) << "one line";
}

TEST(Template, RaiseExceptionPassesItsWordsThrough) {
  const auto parsed = Template::Parse("a\n{{ raise_exception('Roles must alternate: ü') }}");
  ASSERT_TRUE(parsed.ok());
  const auto rendered = parsed->Render(Json::object(), {});
  ASSERT_FALSE(rendered.ok());
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(rendered.status()), "chat template line 2: Roles must alternate: ü");
  EXPECT_EQ(RaisedMessage(rendered.status()), "Roles must alternate: ü");
  EXPECT_EQ(RaisedMessage(parsed->Render(Json::array(), {}).status()), std::nullopt);
}

TEST(Template, ALoneSurrogateIsAnErrorAndNotBrokenText) {
  EXPECT_EQ(Render(R"({{ '\ud800' }})"), "error: chat template: the rendering is not valid UTF-8");
  EXPECT_EQ(Render(R"({{ '\ud800'|tojson(ensure_ascii=true) }})"), R"("\ud800")");
}

TEST(Template, NamespacesMayHoldThemselves) {
  EXPECT_EQ(Render("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns] %}"
                   "{{ ns.me.me.l[0].l|length }}"),
            "1");
}

TEST(Template, OnlyNamespacesTakeAttributes) {
  const std::string refused =
      "error: chat template line 1: cannot assign attribute on non-namespace object";
  for (const char* source :
       {"{% set d.x = 1 %}", "{% set d.x %}a{% endset %}", "{% set n.x | upper %}a{% endset %}",
        "{% set ns = namespace() %}{% set ns, ns.x = 1, 2 %}", "{% set zzz.x %}{% endset %}"}) {
    EXPECT_EQ(Render(source, {{"d", Json::object()}, {"n", 5}}), refused) << source;
  }
  EXPECT_EQ(Render("{% set ns = namespace() %}{% set ns.x %}a{% endset %}{{ ns.x }}"), "a");
}

TEST(Template, ValuesMayOutliveTheBlockThatMadeThem) {
  EXPECT_EQ(
      Render(
          "{% set ns = namespace() %}{% for x in [1, 2] %}{% macro m() %}m{{ x }}{% endmacro %}"
          "{% set ns.m = m %}{% set ns.loop = loop %}{% endfor %}{{ ns.m() }}{{ ns.loop.index }}"),
      "m22");
}

TEST(Template, OneTemplateRendersOnManyThreads) {
  const auto parsed = Template::Parse(
      "{% macro m(x) %}<{{ x|upper }}>{% endmacro %}{% for i in range(50) %}{{ m(name ~ i) }}{% "
      "endfor %}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::string> texts(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto rendered =
          parsed->Render({{"name", std::string(1, static_cast<char>('a' + i))}}, {});
      if (rendered.ok()) texts[i] = rendered->text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string letter(1, static_cast<char>('A' + i));
    EXPECT_EQ(texts[i].substr(0, 9), "<" + letter + "0><" + letter + "1>" + "<");
    EXPECT_EQ(texts[i].size(), 10 * 4u + 40 * 5u);
  }
}

}  // namespace
}  // namespace shardline::jinja
