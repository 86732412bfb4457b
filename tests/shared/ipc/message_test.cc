#include "shared/ipc/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "tests/shared/ipc/message_samples.h"

namespace shardline {
namespace {

using ::testing::HasSubstr;

TEST(Message, EveryKindSurvivesTheRoundTrip) {
  std::set<uint16_t> kinds;
  ForEachMessage([&]<typename T>() {
    SCOPED_TRACE(Name(KindOf<T>()));
    EXPECT_TRUE(kinds.insert(static_cast<uint16_t>(KindOf<T>())).second);
    EXPECT_TRUE(IsMessageKind(static_cast<uint16_t>(KindOf<T>())));
    std::vector<std::byte> bytes, again;
    Encode(Sample<T>(), bytes);
    const auto decoded = Decode<T>(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    Encode(*decoded, again);
    EXPECT_EQ(bytes, again);
  });
  EXPECT_EQ(kinds.size(), 14u);
  int known = 0;
  for (int kind = 0; kind < 65536; ++kind) known += IsMessageKind(static_cast<uint16_t>(kind));
  EXPECT_EQ(known, 14);
}

TEST(Message, FieldsArriveWhereTheyWereSent) {
  std::vector<std::byte> bytes;
  const Submit sent = Sample<Submit>();
  Encode(sent, bytes);
  const auto got = Decode<Submit>(bytes);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->header.key, sent.header.key);
  EXPECT_EQ(got->header.priority, -3);
  EXPECT_EQ(got->header.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(got->header.sampling.repeat_last_n, -1);
  EXPECT_FLOAT_EQ(got->header.sampling.repetition_penalty, 1.3f);
  EXPECT_EQ(got->prompt, sent.prompt);
  EXPECT_EQ(got->emitted, sent.emitted);
  EXPECT_EQ(got->stop_token_ids, sent.stop_token_ids);
  ASSERT_EQ(got->logit_bias.size(), 1u);
  EXPECT_EQ(got->logit_bias[0].id, 5u);

  Encode(Sample<Ready>(), bytes);
  const auto ready = Decode<Ready>(bytes);
  ASSERT_TRUE(ready.ok());
  EXPECT_EQ(ready->family, "llama");
  EXPECT_EQ(ready->arithmetic, "");
  EXPECT_EQ(ready->instruction_set, "avx2");
  EXPECT_EQ(ready->capabilities, "generate, logprobs");

  Encode(Sample<Tokens>(), bytes);
  const auto tokens = Decode<Tokens>(bytes);
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(tokens->header.first_index, 10u);
  EXPECT_TRUE(std::isnan(tokens->tokens[1].logprob));
  EXPECT_EQ(tokens->top[3].id, 2u);
}

TEST(Message, EveryTruncationAndEveryExtraByteIsRefused) {
  ForEachMessage([]<typename T>() {
    SCOPED_TRACE(Name(KindOf<T>()));
    std::vector<std::byte> bytes;
    Encode(Sample<T>(), bytes);
    for (size_t size = 0; size < bytes.size(); ++size) {
      // A copy of exactly that size, so that a sanitizer sees a read past it.
      const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + size);
      const auto decoded = Decode<T>(cut);
      ASSERT_TRUE(absl::IsInvalidArgument(decoded.status())) << size;
      EXPECT_THAT(Message(decoded.status()), HasSubstr(std::string(Name(KindOf<T>()))));
      EXPECT_THAT(Message(decoded.status()), HasSubstr("too few"));
    }
    bytes.push_back({});
    EXPECT_THAT(Message(Decode<T>(bytes).status()), HasSubstr("too many"));
  });
}

TEST(Message, HugeCountsDoNotAllocate) {
  std::vector<std::byte> bytes;
  Encode(Sample<Configure>(), bytes);
  const uint32_t count = 0xffffffff;
  std::memcpy(bytes.data(), &count, sizeof(count));
  EXPECT_TRUE(absl::IsInvalidArgument(Decode<Configure>(bytes).status()));
}

TEST(Message, CandidatesMatchTopCount) {
  std::vector<std::byte> bytes;
  Tokens tokens = Sample<Tokens>();
  tokens.top.pop_back();
  Encode(tokens, bytes);
  EXPECT_THAT(Message(Decode<Tokens>(bytes).status()), HasSubstr("top_count"));
  Prompt prompt = Sample<Prompt>();
  prompt.header.top_count = 0x80000001;  // times two tokens overflows 32 bits to 2
  Encode(prompt, bytes);
  EXPECT_THAT(Message(Decode<Prompt>(bytes).status()), HasSubstr("top_count"));
}

TEST(Message, UnknownEnumerationsAreRefused) {
  std::vector<std::byte> bytes;
  for (uint32_t value : {0u, 5u, 0xffffffffu}) {
    Finished finished = Sample<Finished>();
    finished.reason = static_cast<FlatFinish>(value);
    Encode(finished, bytes);
    EXPECT_THAT(Message(Decode<Finished>(bytes).status()), HasSubstr("unknown reason"));
    Failed failed = Sample<Failed>();
    failed.code = static_cast<FlatError>(value);
    Encode(failed, bytes);
    EXPECT_THAT(Message(Decode<Failed>(bytes).status()), HasSubstr("unknown code"));
  }
}

}  // namespace
}  // namespace shardline
