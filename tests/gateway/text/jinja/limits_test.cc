// Hostile templates end soon, with one line that says why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gateway/text/jinja/template.h"
#include "shared/base/status.h"

namespace shardline::jinja {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

// The error, or "" when there is none.
std::string FailureOf(const std::string& source, const Json& variables = Json::object()) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return Message(parsed.status());
  const auto rendered = parsed->Render(variables, {});
  if (rendered.ok()) return "";
  EXPECT_EQ(Message(rendered.status()).find('\n'), std::string::npos);
  return Message(rendered.status());
}

std::string Repeated(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(Limits, DeepNestingIsRefusedByTheParser) {
  constexpr size_t kDeep = 100'000;
  const std::pair<const char*, const char*> kBrackets[] = {
      {"(", ")"},  {"[", "]"},  {"{1:", "}"},  {"-", ""},     {"not ", ""},
      {"a(", ")"}, {"a[", "]"}, {"a|e(", ")"}, {"a.b[", "]"}, {"a if b else ", ""}};
  for (const auto& [open, close] : kBrackets) {
    EXPECT_THAT(FailureOf("{{ " + Repeated(open, kDeep) + "1" + Repeated(close, kDeep) + " }}"),
                HasSubstr("nested too deeply"))
        << open;
  }
  for (const char* chain : {"a+", "a|e|", "a and ", "a**", "a%"}) {
    const std::string message = FailureOf("{{ " + Repeated(chain, kDeep) + "e }}");
    EXPECT_THAT(message, HasSubstr("nested too deeply")) << chain;
  }
  EXPECT_THAT(FailureOf("{{ a" + Repeated(".b", kDeep) + " }}"), HasSubstr("nested too deeply"));
  EXPECT_THAT(FailureOf(Repeated("{% if a %}", kDeep)), HasSubstr("nested too deeply"));
  EXPECT_THAT(FailureOf(Repeated("{% for a in b %}", kDeep)), HasSubstr("nested too deeply"));
  EXPECT_EQ(FailureOf("{{ " + Repeated("1 ~ ", 10'000) + "1 }}"), "");
  EXPECT_EQ(FailureOf("{% if a %}" + Repeated("{% elif a %}", 10'000) + "{% endif %}"), "");
}

TEST(Limits, LongTemplatesAreRefused) {
  EXPECT_THAT(FailureOf(std::string(size_t{5} << 20, 'a')), HasSubstr("longer than"));
}

TEST(Limits, StepsAreCounted) {
  EXPECT_THAT(FailureOf("{% for i in range(10**9) %}{% endfor %}"), HasSubstr("Range too big"));
  const std::string loops =
      "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
  EXPECT_THAT(FailureOf(loops), HasSubstr("steps"));
  EXPECT_THAT(FailureOf("{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}"),
              HasSubstr("limit"));
  EXPECT_THAT(FailureOf("{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{% set t = s|upper "
                        "%}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(FailureOf("{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{% set t = 'y' in s "
                        "%}{% endfor %}"),
              HasSubstr("steps"));
}

TEST(Limits, ScansOfLongTextsAreCounted) {
  const char* const kScans[] = {
      "{% set s = 'é' * 100000 %}{% for i in range(99999) %}{% set t = s[i] %}{% endfor %}",
      "{% set s = 'é' * 100000 %}{% for i in range(99999) %}{% set t = s[i:i+1] %}{% endfor %}",
      "{% set s = 'é' * 100000 %}{% for i in range(99999) %}{% set t = s|length %}{% endfor %}",
      "{% set s = 'a' * 100000 %}{% for i in range(99999) %}{% set t = s.find('b') %}{% endfor %}",
      "{% set s = 'a' * 100000 %}{% for i in range(99999) %}{% set t = s.partition('b') %}"
      "{% endfor %}",
      "{% set s = 'a' * 100000 %}{{ s.rfind('b' ~ 'a' * 50000) }}{{ s.rfind('aba' * 10000) }}"
      "{% for i in range(99999) %}{% set t = s.rfind('ab' ~ 'a' * 1000) %}{% endfor %}",
      "{{ ('a' * 100000).strip('bc' * 10000 ~ 'a') }}",
      "{{ ('http://a.b ' * 20000)|urlize }}",
      "{{ ('(a) ' * 20000)|urlize }}"};
  RenderOptions options;
  options.limits.steps = 200'000;
  for (const char* source : kScans) {
    const auto parsed = Template::Parse(source);
    ASSERT_TRUE(parsed.ok()) << source;
    EXPECT_THAT(Message(parsed->Render(Json::object(), options).status()),
                HasSubstr("more than 200000 steps"))
        << source;
  }
  // Where a naive search would compare half of the text at every place of it.
  EXPECT_EQ(FailureOf("{% set s = 'a' * 2000000 %}{% set t = 'a' * 1000000 ~ 'b' %}"
                      "{{ s.find(t) }}{{ s.count(t) }}{{ t in s }}{{ s|replace(t, '')|length }}"),
            "");
}

TEST(Limits, ManyNamesAreNoTrouble) {
  std::string sets, arguments;
  for (int i = 0; i < 30'000; ++i) {
    sets += Cat("{% set a", i, " = 1 %}");
    arguments += Cat("a", i, "=1,");
  }
  EXPECT_EQ(FailureOf(sets + "{{ a29999 }}"), "");
  EXPECT_EQ(FailureOf("{{ dict(" + arguments + ")|length }}"), "");
  // A loop's body begins with all of its names unset: that is counted.
  EXPECT_THAT(FailureOf("{% for i in range(99999) %}{% continue %}" + sets + "{% endfor %}"),
              HasSubstr("steps"));
}

TEST(Limits, BigValuesAreRefused) {
  EXPECT_THAT(FailureOf("{{ 'a' * 10**9 }}"), HasSubstr("limit"));
  EXPECT_THAT(FailureOf("{{ 'a' * 10**30 }}"), HasSubstr("too often"));
  EXPECT_THAT(FailureOf("{{ ([1] * 10**9)|length }}"), HasSubstr("too many"));
  EXPECT_THAT(
      FailureOf(
          "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
          "{% endfor %}"),
      HasSubstr("limit"));
  EXPECT_THAT(
      FailureOf(
          "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
          "{% endfor %}"),
      HasSubstr("limit"));
  EXPECT_THAT(FailureOf("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}"
                        "{% set ns.l = [ns.l, 'x' * 1000000] %}{% endfor %}"),
              HasSubstr(""));
  for (const char* wide :
       {"{{ '%999999999d' % 1 }}", "{{ '%.999999999f' % 1 }}", "{{ '{:999999999}'.format(1) }}",
        "{{ '{:.999999999f}'.format(1.5) }}", "{{ 'a'|center(999999999) }}",
        "{{ 'a'.zfill(999999999) }}", "{{ 'a'|indent(999999999, true) }}",
        "{{ [1]|tojson(indent=999999999) }}", "{{ '\t'.expandtabs(999999999) }}",
        "{{ '{:0999999999,}'.format(1) }}", "{{ '%*d' % (999999999, 1) }}"}) {
    EXPECT_NE(FailureOf(wide), "") << wide;
  }
}

TEST(Limits, CallsAreCounted) {
  EXPECT_THAT(FailureOf("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("levels deep"));
  EXPECT_THAT(FailureOf("{% block a %}{{ self.a() }}{% endblock %}"), HasSubstr("levels deep"));
  EXPECT_THAT(FailureOf("{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}"),
              HasSubstr("levels deep"));
}

TEST(Limits, ValuesNestOnlySoDeep) {
  EXPECT_THAT(FailureOf("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = "
                        "[ns.l] %}{% endfor %}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(FailureOf("{% set ns = namespace(l=[1]) %}{% for i in range(9999) %}{% set ns.l = "
                        "ns.l|map('string') %}"
                        "{% endfor %}{{ ns.l|list }}"),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(FailureOf("{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}"),
              HasSubstr("nested too deeply"));
  Json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = Json::array({deep});
  EXPECT_THAT(FailureOf("{{ x }}", {{"x", deep}}), HasSubstr("nested too deeply"));
  // A chain of namespaces is as long as its template likes, and is taken down without recursion.
  EXPECT_EQ(FailureOf("{% set top = namespace(n=none) %}{% for i in range(50000) %}"
                      "{% set top.n = namespace(n=top.n) %}{% endfor %}"),
            "");
}

TEST(Limits, TheCallerSetsThem) {
  const auto parsed = Template::Parse("{% for i in range(100) %}{{ 'abc' }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  RenderOptions options;
  options.limits.steps = 50;
  EXPECT_THAT(Message(parsed->Render(Json::object(), options).status()),
              HasSubstr("more than 50 steps"));
  options.limits.steps = 1000;
  options.limits.output_bytes = 200;
  EXPECT_THAT(Message(parsed->Render(Json::object(), options).status()), HasSubstr("limit of 200"));
  options.limits.output_bytes = 300;
  EXPECT_TRUE(parsed->Render(Json::object(), options).ok());
}

}  // namespace
}  // namespace shardline::jinja
