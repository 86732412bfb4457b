// Compares renderings with those of Python's jinja2, byte for byte. tools/make_template_fixtures.py
// makes testdata/*.json; a null there means that Python fails, and so must we; {"raised": message}
// that the template refuses, in these words.
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "gateway/text/jinja/template.h"
#include "gateway/text/jinja/variables.h"

namespace shardline::jinja {
namespace {

using Json = nlohmann::ordered_json;

const std::string kData = std::string(SHARDLINE_SOURCE_DIR) + "/tests/gateway/text/jinja/testdata/";

std::string ReadFile(const std::string& name) {
  std::ifstream file(kData + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The moment of the fixtures, 2024-07-26 09:05:03.120450, in whatever zone the test runs.
RenderOptions Options() {
  std::tm time{};
  time.tm_year = 124;
  time.tm_mon = 6;
  time.tm_mday = 26;
  time.tm_hour = 9;
  time.tm_min = 5;
  time.tm_sec = 3;
  time.tm_isdst = -1;
  RenderOptions options;
  options.now = std::chrono::system_clock::from_time_t(std::mktime(&time)) +
                std::chrono::microseconds(120450);
  return options;
}

void ExpectRendering(const std::string& source, const Json& variables, const Json& expected,
                     const std::string& what) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) {
    EXPECT_TRUE(expected.is_null()) << what << ": " << parsed.status().ToString();
    return;
  }
  const auto rendered = parsed->Render(variables, Options());
  if (expected.is_object()) {
    ASSERT_FALSE(rendered.ok()) << what << " should be refused, but gives: " << rendered->text;
    EXPECT_EQ(RaisedMessage(rendered.status()), expected["raised"].get<std::string>()) << what;
  } else if (expected.is_null()) {
    EXPECT_FALSE(rendered.ok()) << what << " should fail, but gives: " << rendered->text;
  } else if (rendered.ok()) {
    EXPECT_EQ(rendered->text, expected.get<std::string>()) << what;
  } else {
    ADD_FAILURE() << what << ": " << rendered.status().ToString();
  }
}

TEST(Fixtures, TemplatesRenderAsInPython) {
  const Json data = ParseVariables(ReadFile("renderings.json")).value();
  ASSERT_GT(data["renderings"].size(), 1500u);
  for (const Json& row : data["renderings"]) {
    Json variables = data["tokens"];
    variables.update(data["conversations"][row[1].get<std::string>()]);
    const std::string file = row[0].get<std::string>();
    ExpectRendering(ReadFile("templates/" + file), variables, row[2],
                    file + " with " + row[1].get<std::string>());
  }
}

TEST(Fixtures, ExpressionsEvaluateAsInPython) {
  const Json data = ParseVariables(ReadFile("expressions.json")).value();
  ASSERT_GT(data["expressions"].size(), 700u);
  for (const Json& row : data["expressions"]) {
    const std::string source = row[0].get<std::string>();
    ExpectRendering(source, data["variables"], row[1], source);
  }
}

}  // namespace
}  // namespace shardline::jinja
