#include "worker/weights/config.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

std::unique_ptr<HfConfig> Parse(std::string_view text) {
  auto config = HfConfig::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

TEST(HfConfig, ReadsTypedKeys) {
  const auto config = Parse(R"({"a": 3, "b": 2.5, "c": true, "d": "x", "e": {"f": 7}, "n": null,
                                "l": [1, 2.5], "s": ["p", "q"]})");
  EXPECT_EQ(config->Int("a", 0, 9), 3);
  EXPECT_EQ(config->Float("a"), 3.0);
  EXPECT_EQ(config->Float("b"), 2.5);
  EXPECT_TRUE(config->Bool("c", false));
  EXPECT_EQ(config->String("d"), "x");
  EXPECT_EQ(config->Int("e.f", 0, 9), 7);
  EXPECT_EQ(config->Int("n", 0, 9, 5), 5) << "null is absent";
  EXPECT_EQ(config->Int("e.g", 0, 9, 4), 4);
  EXPECT_EQ(config->Floats("l"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(config->Strings("s"), (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(config->Keys("e"), std::vector<std::string>{"f"});
  EXPECT_TRUE(config->status().ok());
}

TEST(HfConfig, TellsAllMistakesInOneLine) {
  const auto config = Parse(R"({"a": "three", "b": 12, "big": 18446744073709551615, "f": 1.5})");
  config->Int("a", 0, 9);
  config->Int("b", 0, 9);
  config->Int("big", 0, 9);
  config->Int("f", 0, 9);
  config->Int("gone", 0, 9);
  config->String("lost");
  config->Bool("b", false);
  config->Floats("a");
  config->Refuse("z", "is odd");
  EXPECT_EQ(
      Message(config->status()),
      "config.json: missing keys: gone, lost; a is not an integer; b 12 is outside 0..9; big is "
      "not an integer; f is not an integer; b is not true or false; a is not a list of numbers; "
      "z is odd");
}

TEST(HfConfig, RefusesWhatIsNoObject) {
  for (const char* text : {"", "[]", "{", "3", "{\"a\": }", "\xff\xfe"}) {
    const auto config = HfConfig::Parse(text, "config.json");
    EXPECT_EQ(Message(config.status()), "config.json: not a JSON object") << text;
  }
  EXPECT_FALSE(HfConfig::Parse(std::string(200000, '['), "config.json").ok());
}

}  // namespace
}  // namespace shardline
