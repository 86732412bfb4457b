// Which bytes of a rendering count as input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gateway/text/jinja/template.h"

namespace shardline::jinja {
namespace {

using Json = nlohmann::ordered_json;

// The rendering with the bytes that came from input in square brackets.
std::string Marked(std::string_view source, const Json& variables,
                   const RenderOptions& options = {}) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status().ToString();
  const auto rendered = parsed->Render(variables, options);
  if (!rendered.ok()) return rendered.status().ToString();
  std::string out;
  size_t at = 0;
  for (const Range& range : rendered->input_ranges) {
    EXPECT_LT(range.begin, range.end);
    EXPECT_LE(at, range.begin);
    EXPECT_LE(range.end, rendered->text.size());
    out += rendered->text.substr(at, range.begin - at) + "[" +
           rendered->text.substr(range.begin, range.end - range.begin) + "]";
    at = range.end;
  }
  return out + rendered->text.substr(at);
}

// `expression` over c, the content of one message.
std::string Of(std::string_view expression, const std::string& content = " a,B c ") {
  return Marked("{% set c = messages[0].content %}{{ " + std::string(expression) + " }}",
                {{"messages", {{{"role", "user"}, {"content", content}}}}});
}

TEST(Marks, ContentsAreInputAndRolesAndLiteralsAreNot) {
  EXPECT_EQ(Marked("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}",
                   {{"messages",
                     {{{"role", "user"}, {"content", "<|end|>"}},
                      {{"role", "assistant"}, {"content", "x"}}}}}),
            "<|user|>[<|end|>]<|end|><|assistant|>[x]<|end|>");
}

TEST(Marks, EverythingInAMessageButItsRoleIsInput) {
  EXPECT_EQ(Marked("{{ messages[0].name }}{{ messages[0].content[0].text }}{{ bos }}"
                   "{% for k, v in messages[0].args|items %}{{ k }}={{ v }};{% endfor %}",
                   {{"bos", "<s>"},
                    {"messages",
                     {{{"role", "user"},
                       {"name", "N"},
                       {"args", {{"k", "v"}}},
                       {"content", {{{"type", "text"}, {"text", "T"}}}}}}}}),
            "[NT]<s>[k]=[v];");
}

TEST(Marks, OperationsThatKeepBytesKeepTheirMarks) {
  EXPECT_EQ(Of("'<' + c + '>'"), "<[ a,B c ]>");
  EXPECT_EQ(Of("'<' ~ c ~ 1 ~ '>'"), "<[ a,B c ]1>");
  EXPECT_EQ(Of("('<' + c + '>')[2:5]"), "[a,B]");
  EXPECT_EQ(Of("('<' + c + '>')[::-1]"), ">[ c B,a ]<");
  EXPECT_EQ(Of("('<' + c + '>')[1]"), "[ ]");
  EXPECT_EQ(Of("c|trim ~ '.'"), "[a,B c].");
  EXPECT_EQ(Of("c.strip().replace(',', '--')"), "[a]--[B c]");
  EXPECT_EQ(Of("'x-y'|replace('-', c|trim)"), "x[a,B c]y");
  EXPECT_EQ(Of("c.split(',')[1]"), "[B c ]");
  EXPECT_EQ(Of("c.split()|join('+')"), "[a,B]+[c]");
  EXPECT_EQ(Of("('<' + c)|upper"), "<[ A,B C ]");
  EXPECT_EQ(Of("'%s!%d' % (c|trim, 3)"), "[a,B c]!3");
  EXPECT_EQ(Of("'{}!{:>8}'.format(1, c|trim)"), "1!   [a,B c]");
  EXPECT_EQ(Of("('<' + c + '>')|e"), "&lt;[ a,B c ]&gt;");
  EXPECT_EQ(Of("c|trim|indent(2, true)"), "  [a,B c]");
  EXPECT_EQ(Of("c|trim|center(9) ~ '|'"), "  [a,B c]  |");
  EXPECT_EQ(Of("'%s' % c|trim * 2"), "[a,B ca,B c]");
  EXPECT_EQ(Of("(c|trim)|list|last"), "[c]");
  EXPECT_EQ(Of("[c]|map('trim')|first"), "[a,B c]");
  EXPECT_EQ(Of("c|trim|title"), "[A,b C]");
}

TEST(Marks, CaseMappingsOfOtherAlphabetsKeepThem) {
  EXPECT_EQ(Of("('ß' + c + 'ß')|upper", "ßx"), "SS[SSX]SS");
  EXPECT_EQ(Of("('Éa' + c)|lower", "É"), "éa[é]");
  EXPECT_EQ(Of("('é' + c).title()", "éÉ"), "É[éé]");
}

TEST(Marks, DerivedTextIsWhollyMarkedAndFactsAreNot) {
  EXPECT_EQ(Of("{'a': c}|tojson"), "[{\"a\": \" a,B c \"}]");
  EXPECT_EQ(Of("[c]"), "[[' a,B c ']]");
  EXPECT_EQ(Of("{'a': 1}|tojson"), "{\"a\": 1}");
  EXPECT_EQ(Of("c|length"), "7");
  EXPECT_EQ(Of("c|trim == 'a,B c'"), "True");
}

TEST(Marks, SurviveMacrosSetBlocksAndNamespaces) {
  const Json variables = {{"messages", {{{"role", "user"}, {"content", "X"}}}}};
  EXPECT_EQ(
      Marked("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(messages[0].content) }}", variables),
      "<[X]>");
  EXPECT_EQ(Marked("{% set s %}-{{ messages[0].content }}-{% endset %}{{ s }}", variables),
            "-[X]-");
  EXPECT_EQ(
      Marked("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ '<' ~ "
             "m.content ~ '>' %}{% endfor %}{{ ns.t }}",
             variables),
      "<[X]>");
  EXPECT_EQ(Marked("{% filter upper %}a{{ messages[0].content }}{% endfilter %}", variables),
            "A[X]");
}

TEST(Marks, TheCallerChoosesWhatIsInput) {
  const Json variables = {{"messages", {{{"role", "user"}, {"content", "X"}}}},
                          {"tools", {{{"name", "T"}, {"id", "I"}}}}};
  constexpr char kSource[] = "{{ messages[0].content }}{{ tools[0].name }}{{ tools[0].id }}";
  RenderOptions options;
  options.input_paths = {"/tools"};
  options.trusted_paths = {"/tools/*/id"};
  EXPECT_EQ(Marked(kSource, variables, options), "X[T]I");
  options.input_paths.clear();
  EXPECT_EQ(Marked(kSource, variables, options), "XTI");
}

}  // namespace
}  // namespace shardline::jinja
