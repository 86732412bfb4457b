#include "tools/cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>

#include "tools/cli/generate_request.h"

namespace shardline::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

struct Session {
  std::istringstream in;
  std::ostringstream out, err;
  Streams streams{in, out, err};
  std::optional<int> end;
};

struct Values {
  std::string text;
  float number = 0;
  std::optional<int32_t> integer;
  std::optional<bool> flag;
  std::vector<std::string> many;
};

Options Make(Values& values) {
  Options options("test", "test [flags]", "Does nothing.");
  options.Text("text", "TEXT", "a text", [&](const std::string& text) { values.text = text; });
  options.Number<float>("number", "a number", [&](float x) { values.number = x; });
  options.Number<int32_t>("an-integer", "an integer", [&](int32_t n) { values.integer = n; });
  options.Switch("flag-it", "a switch", [&](bool value) { values.flag = value; });
  options.Text("many", "X", "more", [&](const std::string& text) { values.many.push_back(text); });
  return options;
}

TEST(Options, ReadsEveryForm) {
  Values values;
  Session run;
  const Arguments rest =
      Make(values).Parse({"word", "--text", "--dashes-kept", "--number=0.5", "--an_integer", "-3",
                          "--many", "a,b", "--many=--c=d", "--flag-it", "-", "--", "--text", "x"},
                         run.streams, run.end);
  EXPECT_EQ(run.end, std::nullopt) << run.err.str();
  EXPECT_THAT(rest, ElementsAre("word", "-", "--text", "x"));
  EXPECT_EQ(values.text, "--dashes-kept");
  EXPECT_EQ(values.number, 0.5f);
  EXPECT_EQ(values.integer, -3);
  EXPECT_EQ(values.flag, true);
  EXPECT_THAT(values.many, ElementsAre("a,b", "--c=d"));
}

TEST(Options, ReadsSwitches) {
  const std::pair<const char*, bool> cases[] = {{"--flag-it", true},
                                                {"--flag-it=true", true},
                                                {"--flag-it=false", false},
                                                {"--flag_it=0", false},
                                                {"--no-flag-it", false}};
  for (const auto& [argument, expected] : cases) {
    Values values;
    Session run;
    Make(values).Parse({argument}, run.streams, run.end);
    EXPECT_EQ(run.end, std::nullopt) << argument << run.err.str();
    EXPECT_EQ(values.flag, expected) << argument;
  }
}

TEST(Options, ReadsNumbersThatMayBeLeftOut) {
  const struct {
    Arguments arguments;
    uint32_t expected;
    size_t rest;
  } cases[] = {{{"--some"}, 7, 0},
               {{"--some", "x"}, 7, 1},
               {{"--some", "3", "x"}, 3, 1},
               {{"--some=4", "5"}, 4, 1},
               {{"--some", "-1"}, 7, 0}};
  for (const auto& [arguments, expected, rest] : cases) {
    uint32_t value = 0;
    Options options("test", "", "");
    options.OptionalNumber("some", "", 7, [&](uint32_t n) { value = n; });
    options.Switch("1", "", [](bool) {});
    Session run;
    EXPECT_EQ(options.Parse(arguments, run.streams, run.end).size(), rest);
    EXPECT_EQ(run.end, std::nullopt) << run.err.str();
    EXPECT_EQ(value, expected) << arguments.size();
    EXPECT_THAT(options.Help(), HasSubstr("--some[=N] "));
  }
}

TEST(Options, NamesTheBadFlagInOneLine) {
  const std::pair<Arguments, const char*> cases[] = {
      {{"--unknown"}, "unknown flag '--unknown'"},
      {{"--no-text"}, "unknown flag '--no-text'"},
      {{"--text"}, "--text: a value must follow"},
      {{"--number", "many"}, "--number: 'many' is not a number"},
      {{"--number="}, "--number: '' is not a number"},
      {{"--number=1e99"}, "--number: '1e99' is out of range"},
      {{"--an-integer=1.5"}, "--an-integer: '1.5' is not an integer"},
      {{"--an-integer=2147483648"}, "is out of range"},
      {{"--flag-it=perhaps"}, "--flag-it: 'perhaps' is neither true nor false"},
      {{"--no-flag-it=true"}, "unknown flag"},
  };
  for (const auto& [arguments, expected] : cases) {
    Values values;
    Session run;
    Make(values).Parse(arguments, run.streams, run.end);
    EXPECT_EQ(run.end, kBadInput) << arguments[0];
    EXPECT_THAT(run.err.str(), HasSubstr(expected));
    EXPECT_THAT(run.err.str(), EndsWith("(see shardline test --help)\n"));
  }
}

TEST(Options, HelpListsEveryFlag) {
  Values values;
  Session run;
  Make(values).Parse({"--help", "--unknown"}, run.streams, run.end);
  EXPECT_EQ(run.end, kDone);
  EXPECT_THAT(run.out.str(), HasSubstr("usage: shardline test [flags]\n"));
  EXPECT_THAT(run.out.str(), HasSubstr("--an-integer N "));
  EXPECT_THAT(run.out.str(), HasSubstr("--flag-it "));
}

// What `arguments` and standard input `in` make of generate's flags.
absl::StatusOr<v1::GenerateRequest> Request(const Arguments& arguments,
                                            const std::string& in = "") {
  GenerateFlags flags;
  Session run;
  run.in.str(in);
  const Arguments words = GenerateOptions(flags).Parse(arguments, run.streams, run.end);
  if (run.end) return InvalidArgument(run.err.str());
  return MakeGenerateRequest(flags, words, run.in);
}

TEST(GenerateRequest, TakesTheChatFromWordsOrInput) {
  const auto words = Request({"Why", "is it", "--system", "Be brief."});
  ASSERT_TRUE(words.ok()) << Message(words.status());
  ASSERT_EQ(words->chat().messages_size(), 2);
  EXPECT_EQ(words->chat().messages(0).role(), "system");
  EXPECT_EQ(words->chat().messages(0).content(), "Be brief.");
  EXPECT_EQ(words->chat().messages(1).content(), "Why is it");
  EXPECT_FALSE(words->has_sampling()) << "unset is not zero";
  EXPECT_FALSE(words->has_stopping());
  const auto input = Request({}, "two\nlines\n");
  ASSERT_TRUE(input.ok());
  EXPECT_EQ(input->chat().messages(0).content(), "two\nlines");
}

TEST(GenerateRequest, TakesTextAndIds) {
  const auto text = Request({"--text"}, " exact\n");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->text(), " exact\n");
  const auto ids = Request({"--ids", "1,2", "4294967295"});
  ASSERT_TRUE(ids.ok());
  EXPECT_THAT(ids->token_ids().ids(), ElementsAre(1, 2, 4294967295));
}

TEST(GenerateRequest, SetsEveryFieldOfTheContract) {
  const auto request = Request({"--temperature=0",
                                "--top-k=5",
                                "--top-p=0.5",
                                "--min-p=0.25",
                                "--typical-p=0.75",
                                "--repetition-penalty=1.5",
                                "--repeat-last-n=-1",
                                "--frequency-penalty=-0.5",
                                "--presence-penalty=0.5",
                                "--logit-bias=7=-100",
                                "--logit-bias=8=2.5",
                                "--seed=18446744073709551615",
                                "--max-new-tokens=0",
                                "--min-new-tokens=3",
                                "--stop=a,b",
                                "--stop=c",
                                "--stop-token-id=9",
                                "--ignore-eos",
                                "--include-stop",
                                "--json",
                                "--logprobs=0",
                                "--prompt-logprobs",
                                "--echo",
                                "--include-special-text",
                                "--n=2",
                                "--model=m",
                                "--request-id=r",
                                "--priority=-1",
                                "--cache-salt=s",
                                "--detach-seconds=1.5",
                                "--truncate-prompt-tokens=10",
                                "--no-add-special-tokens",
                                "--parse-special-tokens=false",
                                "--template-arguments={}",
                                "--no-add-generation-prompt",
                                "hi"});
  ASSERT_TRUE(request.ok()) << Message(request.status());
  const v1::SamplingParams& sampling = request->sampling();
  EXPECT_TRUE(sampling.has_temperature());
  EXPECT_EQ(sampling.temperature(), 0);
  EXPECT_EQ(sampling.top_k(), 5u);
  EXPECT_EQ(sampling.top_p(), 0.5f);
  EXPECT_EQ(sampling.min_p(), 0.25f);
  EXPECT_EQ(sampling.typical_p(), 0.75f);
  EXPECT_EQ(sampling.repetition_penalty(), 1.5f);
  EXPECT_EQ(sampling.repeat_last_n(), -1);
  EXPECT_EQ(sampling.frequency_penalty(), -0.5f);
  EXPECT_EQ(sampling.presence_penalty(), 0.5f);
  EXPECT_EQ(sampling.logit_bias().at(7), -100);
  EXPECT_EQ(sampling.logit_bias().at(8), 2.5f);
  EXPECT_EQ(sampling.seed(), ~uint64_t{0});
  const v1::StoppingParams& stopping = request->stopping();
  EXPECT_TRUE(stopping.has_max_new_tokens());
  EXPECT_EQ(stopping.max_new_tokens(), 0u);
  EXPECT_EQ(stopping.min_new_tokens(), 3u);
  EXPECT_THAT(stopping.stop_strings(), ElementsAre("a,b", "c"));
  EXPECT_THAT(stopping.stop_token_ids(), ElementsAre(9));
  EXPECT_TRUE(stopping.ignore_eos());
  EXPECT_TRUE(stopping.include_stop());
  EXPECT_TRUE(request->logprobs().has_top());
  EXPECT_TRUE(request->logprobs().prompt());
  EXPECT_TRUE(request->echo());
  EXPECT_TRUE(request->include_special_text());
  EXPECT_EQ(request->n(), 2u);
  EXPECT_EQ(request->model(), "m");
  EXPECT_EQ(request->request_id(), "r");
  EXPECT_EQ(request->priority(), -1);
  EXPECT_EQ(request->cache_salt(), "s");
  EXPECT_EQ(request->detach_seconds(), 1.5f);
  EXPECT_EQ(request->truncate_prompt_tokens(), 10u);
  EXPECT_TRUE(request->has_add_special_tokens());
  EXPECT_FALSE(request->add_special_tokens());
  EXPECT_TRUE(request->has_parse_special_tokens());
  EXPECT_FALSE(request->parse_special_tokens());
  EXPECT_EQ(request->chat().template_arguments_json(), "{}");
  EXPECT_TRUE(request->chat().has_add_generation_prompt());
  EXPECT_FALSE(request->chat().add_generation_prompt());
}

TEST(GenerateRequest, RefusesWhatDoesNotFit) {
  const std::pair<Arguments, const char*> cases[] = {
      {{"--from-seq=2", "x"}, "--from-seq goes with --attach"},
      {{"--stop=\xff", "x"}, "--stop: not UTF-8"},
      {{"--ids", "1,x"}, "--ids: no token id at 'x'"},
      {{"--ids", "4294967296"}, "--ids: no token id"},
      {{"--ids", "-1"}, "unknown flag"},
      {{"--text", "--system", "s", "x"}, "for chats, not for --text"},
      {{"--logit-bias=3", "x"}, "--logit-bias: '3' is not ID=VALUE"},
      {{"--logit-bias==1", "x"}, "is not ID=VALUE"},
      {{"\xff"}, "not UTF-8"},
      {{"--chat-template=/nonexistent", "x"}, "--chat-template: /nonexistent: cannot be read"},
      {{"--seed=-1", "x"}, "--seed: '-1' is not a non-negative integer"},
  };
  for (const auto& [arguments, expected] : cases) {
    const auto request = Request(arguments);
    ASSERT_FALSE(request.ok()) << arguments[0];
    EXPECT_THAT(Message(request.status()), HasSubstr(expected));
  }
}

}  // namespace
}  // namespace shardline::cli
