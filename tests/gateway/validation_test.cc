#include "gateway/validation.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <set>

#include "gateway/capabilities.h"

namespace shardline {
namespace {

v1::GenerateRequest Parse(const std::string& text) {
  v1::GenerateRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  if (request.prompt_case() == v1::GenerateRequest::PROMPT_NOT_SET) request.set_text("hello");
  return request;
}

void CollectPaths(const google::protobuf::Descriptor* type, const std::string& prefix,
                  std::set<std::string>& paths) {
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const std::string path = prefix.empty() ? field->name() : prefix + "." + field->name();
    if (field->message_type() != nullptr && !field->is_map()) {
      CollectPaths(field->message_type(), path, paths);
    } else {
      paths.insert(path);
    }
  }
}

TEST(Capabilities, TheTableHasEveryFieldOfTheRequest) {
  std::set<std::string> fields, rows;
  CollectPaths(v1::GenerateRequest::descriptor(), "", fields);
  for (const Parameter& parameter : Capabilities()) {
    if (parameter.field == "chat.messages")
      continue;  // its count; its fields have rows of their own
    EXPECT_TRUE(rows.insert(std::string(parameter.field)).second) << parameter.field;
  }
  EXPECT_EQ(fields, rows);
}

struct Case {
  std::string request;  // text format
  std::string field;    // of the error; empty: valid
};

class Fields : public testing::TestWithParam<Case> {};

TEST_P(Fields, AreCheckedByName) {
  const absl::Status status = CheckFields(Parse(GetParam().request));
  if (GetParam().field.empty()) {
    EXPECT_TRUE(status.ok()) << status;
    return;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(FieldOf(status), GetParam().field) << status;
  EXPECT_EQ(Message(status).rfind(GetParam().field + ": ", 0), 0u) << status;
  EXPECT_EQ(Message(status).find('\n'), std::string::npos);
}

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"", ""},
      {"token_ids { ids: 1 }", ""},
      {"chat { messages { role: 'user' content: 'x' } }", ""},
      {"n: 0", "n"},
      {"n: 1", ""},
      {"n: 128", ""},
      {"n: 129", "n"},
      {"cache_salt: 'x'", "cache_salt"},
      {"detach_seconds: 0", ""},
      {"detach_seconds: 0.5", ""},
      {"detach_seconds: 86400", ""},
      {"detach_seconds: 86401", "detach_seconds"},
      {"detach_seconds: -0.5", "detach_seconds"},
      {"detach_seconds: nan", "detach_seconds"},
      {"priority: -5", ""},
      {"echo: true add_special_tokens: false parse_special_tokens: false include_special_text: "
       "true",
       ""},
      {"truncate_prompt_tokens: 0", "truncate_prompt_tokens"},
      {"truncate_prompt_tokens: 5", ""},
      {"stopping { min_new_tokens: 3 max_new_tokens: 2 }", "stopping.min_new_tokens"},
      {"stopping { min_new_tokens: 3 max_new_tokens: 3 }", ""},
      {"stopping { max_new_tokens: 0 }", ""},
      {"stopping { max_new_tokens: 2147483648 }", "stopping.max_new_tokens"},
      {"stopping { stop_strings: 'a' stop_strings: '' }", "stopping.stop_strings[1]"},
      {"stopping { stop_strings: '" + std::string(256, 'x') + "' }", ""},
      {"stopping { stop_strings: '" + std::string(257, 'x') + "' }", "stopping.stop_strings[0]"},
      {"logprobs { top: 64 prompt: true }", ""},
      {"logprobs { top: 65 }", "logprobs.top"},
      {"sampling { logit_bias { key: 7 value: 100 } }", ""},
      {"sampling { logit_bias { key: 7 value: 100.5 } }", "sampling.logit_bias[7]"},
      {"sampling { logit_bias { key: 7 value: nan } }", "sampling.logit_bias[7]"},
      {"sampling { logit_bias { key: 4294967295 value: 101 } }", "sampling.logit_bias[4294967295]"},
      {"sampling { seed: 18446744073709551615 }", ""},
      {"sampling { top_k: 2147483647 }", ""},
      {"sampling { top_k: 2147483648 }", "sampling.top_k"},
      {"sampling { repeat_last_n: -1 }", ""},
      {"sampling { repeat_last_n: -2 }", "sampling.repeat_last_n"},
      {"request_id: '" + std::string(256, 'x') + "'", ""},
      {"request_id: '" + std::string(257, 'x') + "'", "request_id"},
  };
  std::string stops;
  for (int i = 0; i < 17; ++i) stops += "stop_strings: 'x' ";
  cases.push_back({"stopping { " + stops + "}", "stopping.stop_strings"});
  std::string bias;
  for (int i = 0; i < 1025; ++i) {
    bias += "logit_bias { key: " + std::to_string(i) + " value: 1 } ";
    if (i == 1023) cases.push_back({"sampling { " + bias + "}", ""});
  }
  cases.push_back({"sampling { " + bias + "}", "sampling.logit_bias"});

  // {field, valid values, invalid values}; never finite ones.
  const std::vector<std::tuple<std::string, std::vector<std::string>, std::vector<std::string>>>
      floats = {
          {"temperature", {"0", "100", "0.7"}, {"-0.001", "100.1"}},
          {"top_p", {"1", "1e-6"}, {"0", "-1", "1.01"}},
          {"min_p", {"0", "1"}, {"-0.1", "1.1"}},
          {"typical_p", {"1", "0.2"}, {"0", "1.1"}},
          {"repetition_penalty", {"0.01", "10"}, {"0", "-1", "10.01"}},
          {"frequency_penalty", {"-2", "2"}, {"-2.01", "2.01"}},
          {"presence_penalty", {"-2", "2"}, {"-2.01", "2.01"}},
      };
  for (const auto& [name, valid, invalid] : floats) {
    const auto request = [&name = name](const std::string& value) {
      return "sampling { " + name + ": " + value + " }";
    };
    for (const auto& value : valid) cases.push_back({request(value), ""});
    for (const auto& value : invalid) cases.push_back({request(value), "sampling." + name});
    for (const char* value : {"nan", "inf", "-inf"}) {
      cases.push_back({request(value), "sampling." + name});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Table, Fields, testing::ValuesIn(Cases()));

TEST(Validation, AFieldOfALaterContractIsRefused) {
  v1::GenerateRequest request = Parse("");
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(999, 1);
  EXPECT_EQ(FieldOf(CheckFields(request)), "999");
  request = Parse("sampling { top_k: 1 }");
  auto* sampling = request.mutable_sampling();
  sampling->GetReflection()->MutableUnknownFields(sampling)->AddVarint(77, 1);
  EXPECT_EQ(FieldOf(CheckFields(request)), "sampling.77");
}

TEST(Validation, NumbersAreToldInFull) {
  const std::string message = Message(CheckFields(Parse("sampling { top_k: 2147483648 }")));
  EXPECT_NE(message.find("2147483648 is out of range"), std::string::npos) << message;
  EXPECT_NE(message.find("at most 2147483647"), std::string::npos) << message;
}

TEST(Validation, OtherRequestsKeepTheSameRules) {
  v1::TokenizeRequest tokenize;
  tokenize.mutable_chat()->add_messages()->set_role(std::string(257, 'x'));
  EXPECT_EQ(FieldOf(CheckFields(tokenize)), "chat.messages[0].role");
  v1::AttachRequest attach;
  EXPECT_TRUE(CheckFields(attach).ok());
  attach.GetReflection()->MutableUnknownFields(&attach)->AddVarint(9, 1);
  EXPECT_EQ(FieldOf(CheckFields(attach)), "9");
}

TEST(Validation, AMissingPromptIsNamed) {
  EXPECT_EQ(FieldOf(CheckFields(v1::GenerateRequest())), "prompt");
}

const ModelFacts kModel{.vocabulary_size = 100, .context_tokens = 10, .has_tokenizer = true};

absl::StatusOr<Submit> ResolveText(const std::string& request, size_t prompt_tokens,
                                   const ModelFacts& model = kModel) {
  return Resolve(Parse(request), std::vector<uint32_t>(prompt_tokens, 5), "text", model);
}

TEST(Resolve, LengthsAgainstTheContext) {
  EXPECT_EQ(ResolveText("", 4)->header.max_new_tokens, 6u);
  EXPECT_EQ(ResolveText("", 10)->header.max_new_tokens, 0u);
  EXPECT_EQ(ResolveText("stopping { max_new_tokens: 6 }", 4)->header.max_new_tokens, 6u);
  EXPECT_EQ(ResolveText("stopping { max_new_tokens: 0 }", 10)->header.max_new_tokens, 0u);
  EXPECT_EQ(FieldOf(ResolveText("stopping { max_new_tokens: 7 }", 4).status()),
            "stopping.max_new_tokens");
  EXPECT_EQ(FieldOf(ResolveText("", 11).status()), "text");
  EXPECT_EQ(FieldOf(ResolveText("", 0).status()), "text");
  EXPECT_EQ(FieldOf(ResolveText("stopping { min_new_tokens: 7 }", 4).status()),
            "stopping.min_new_tokens");
}

TEST(Resolve, TruncationKeepsTheLastTokens) {
  const auto submit = Resolve(Parse("truncate_prompt_tokens: 2"),
                              {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "text", kModel);
  ASSERT_TRUE(submit.ok()) << submit.status();
  EXPECT_EQ(submit->prompt, (std::vector<uint32_t>{10, 11}));
}

TEST(Resolve, IdsAreBelowTheVocabulary) {
  EXPECT_EQ(FieldOf(ResolveText("stopping { stop_token_ids: [99, 100] }", 1).status()),
            "stopping.stop_token_ids[1]");
  EXPECT_EQ(FieldOf(ResolveText("sampling { logit_bias { key: 100 value: 1 } }", 1).status()),
            "sampling.logit_bias[100]");
  v1::TokenIds ids;
  for (const uint32_t id : {1u, 99u, 100u}) ids.add_ids(id);
  EXPECT_EQ(FieldOf(CheckIds("token_ids.ids", ids.ids(), 100)), "token_ids.ids[2]");
  EXPECT_TRUE(CheckIds("token_ids.ids", ids.ids(), 101).ok());
}

TEST(Resolve, WhatNeedsAModelWithText) {
  ModelFacts model = kModel;
  model.has_tokenizer = false;
  EXPECT_EQ(FieldOf(ResolveText("stopping { stop_strings: 'x' }", 1, model).status()),
            "stopping.stop_strings");
  model.vocabulary_size = 20;
  EXPECT_EQ(FieldOf(ResolveText("logprobs { top: 21 }", 1, model).status()), "logprobs.top");
}

TEST(Resolve, MinNewTokensNeedsATokenToDraw) {
  const ModelFacts model{.vocabulary_size = 4, .context_tokens = 10, .eos_ids = {3, 4}};
  EXPECT_EQ(
      FieldOf(ResolveText("stopping { min_new_tokens: 1 stop_token_ids: [0, 2, 1, 2] }", 1, model)
                  .status()),
      "stopping.stop_token_ids");
  for (const char* text : {"stopping { stop_token_ids: [0, 2, 1, 2] }",
                           "stopping { min_new_tokens: 1 stop_token_ids: [0, 2, 0, 2] }"}) {
    EXPECT_TRUE(ResolveText(text, 1, model).ok()) << text;
  }
}

TEST(Resolve, EveryParameterReachesTheWorker) {
  const auto submit = ResolveText(
      "sampling { temperature: 0.5 top_p: 0.9 min_p: 0.1 typical_p: 0.8 repetition_penalty: 1.2 "
      "frequency_penalty: 0.3 presence_penalty: -0.4 top_k: 40 repeat_last_n: 0 seed: 9 "
      "logit_bias { key: 9 value: 2 } logit_bias { key: 3 value: -1 } } "
      "stopping { max_new_tokens: 5 min_new_tokens: 2 stop_token_ids: [7, 8] ignore_eos: true } "
      "logprobs { top: 3 prompt: true } priority: -4",
      2);
  ASSERT_TRUE(submit.ok()) << submit.status();
  const FlatSampling& sampling = submit->header.sampling;
  EXPECT_FLOAT_EQ(sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(sampling.top_p, 0.9f);
  EXPECT_FLOAT_EQ(sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(sampling.typical_p, 0.8f);
  EXPECT_FLOAT_EQ(sampling.repetition_penalty, 1.2f);
  EXPECT_FLOAT_EQ(sampling.frequency_penalty, 0.3f);
  EXPECT_FLOAT_EQ(sampling.presence_penalty, -0.4f);
  EXPECT_EQ(sampling.top_k, 40u);
  EXPECT_EQ(sampling.repeat_last_n, 0);
  EXPECT_EQ(sampling.seed, 9u);
  ASSERT_EQ(submit->logit_bias.size(), 2u);
  EXPECT_EQ(submit->logit_bias[0].id, 3u);
  EXPECT_FLOAT_EQ(submit->logit_bias[1].bias, 2.0f);
  EXPECT_EQ(submit->header.max_new_tokens, 5u);
  EXPECT_EQ(submit->header.min_new_tokens, 2u);
  EXPECT_EQ(submit->stop_token_ids, (std::vector<uint32_t>{7, 8}));
  EXPECT_EQ(submit->header.top_logprobs, 3u);
  EXPECT_EQ(submit->header.flags, kIgnoreEos | kWantLogprobs | kWantPromptLogprobs);
  EXPECT_EQ(submit->header.priority, -4);
  EXPECT_EQ(submit->header.outputs, 1u);
}

TEST(Resolve, TopOfZeroStillAsksForLogprobs) {
  EXPECT_EQ(ResolveText("logprobs { top: 0 }", 1)->header.flags, kWantLogprobs);
  EXPECT_EQ(ResolveText("logprobs { prompt: true }", 1)->header.flags, kWantPromptLogprobs);
  EXPECT_EQ(ResolveText("", 1)->header.flags, 0u);
}

}  // namespace
}  // namespace shardline
