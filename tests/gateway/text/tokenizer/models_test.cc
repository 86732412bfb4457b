// The models by themselves: Unigram's paths, RWKV's greedy match, the trie and the queue of merges.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "gateway/text/tokenizer/byte_trie.h"
#include "gateway/text/tokenizer/merge_queue.h"
#include "gateway/text/tokenizer/rwkv.h"
#include "gateway/text/tokenizer/unigram.h"

namespace shardline {
namespace {

using Ids = std::vector<uint32_t>;

Ids Encode(const TokenModel& model, std::string_view word) {
  Ids ids;
  const auto workspace = model.NewWorkspace();
  const absl::Status status = model.Encode(word, *workspace, ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

std::unique_ptr<UnigramModel> Unigram(const std::vector<std::pair<std::string, double>>& tokens,
                                      UnigramOptions options) {
  Vocabulary vocabulary;
  std::vector<UnigramModel::Piece> pieces;
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    EXPECT_TRUE(vocabulary.Add(tokens[id].first, id).ok());
    pieces.push_back({id, tokens[id].second});
  }
  return *UnigramModel::Create(std::move(vocabulary), pieces, options);
}

TEST(Unigram, TheHighestSumWins) {
  const auto model = Unigram({{"<unk>", 0},
                              {"a", 0},
                              {"b", 0},
                              {"c", 0},
                              {"d", 0},
                              {"cd", 1},
                              {"ab", 2},
                              {"abc", 5},
                              {"abcd", 10}},
                             {.unk_id = 0, .unk_score = -10});
  EXPECT_EQ(Encode(*model, "abcd"), (Ids{8}));
  EXPECT_EQ(Encode(*model, "abcdacd"), (Ids{8, 1, 5}));
  EXPECT_EQ(Encode(*model, "abccd"), (Ids{7, 5}));
  EXPECT_EQ(Encode(*model, "abcdacdxx"), (Ids{8, 1, 5, 0}));  // unknown characters together
  EXPECT_EQ(Encode(*model, "xéa漢b"), (Ids{0, 1, 0, 2}));
}

TEST(Unigram, OfEqualSumsTheFirstFound) {
  const auto model = Unigram({{"a", -1}, {"aa", -2}, {"aaa", -3}}, {});
  EXPECT_EQ(Encode(*model, "aaa"), (Ids{2}));
  EXPECT_EQ(Encode(*model, "aaaa"), (Ids{0, 2}));
  EXPECT_EQ(Encode(*model, "aa"), (Ids{1}));
}

TEST(Unigram, UnknownCharacters) {
  const auto none = Unigram({{"a", -1}}, {});
  Ids ids;
  const auto workspace = none->NewWorkspace();
  EXPECT_EQ(none->Encode("ax", *workspace, ids).code(), absl::StatusCode::kInvalidArgument);
  // All bytes of a run, or the unknown token for all of it.
  const auto bytes =
      Unigram({{"<unk>", 0}, {"a", -1}, {"<0x78>", -2}, {"<0xC3>", -2}, {"<0xA9>", -2}},
              {.unk_id = 0, .unk_score = -12, .byte_fallback = true});
  EXPECT_EQ(Encode(*bytes, "xéax"), (Ids{2, 3, 4, 1, 2}));
  EXPECT_EQ(Encode(*bytes, "xyax"), (Ids{0, 1, 2}));
  // A run may be a token that scored worse than its characters did.
  const auto run = Unigram({{"<unk>", 0}, {"xy", -100}}, {.unk_id = 0, .unk_score = -10});
  EXPECT_EQ(Encode(*run, "xy"), (Ids{1}));
  EXPECT_EQ(Encode(*run, "xyxy"), (Ids{0}));
}

TEST(Unigram, EqualsTheBestOfAllWays) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::pair<std::string, double>> tokens = {{"a", -20}, {"b", -21}, {"c", -22}};
    std::set<std::string> seen = {"a", "b", "c"};
    for (int n = 0; n < 20; ++n) {
      std::string token;
      for (size_t size = 2 + random() % 4; size > 0; --size)
        token += static_cast<char>('a' + random() % 3);
      if (seen.insert(token).second)
        tokens.emplace_back(token, -static_cast<double>(random() % 1000) / 16);
    }
    const auto model = Unigram(tokens, {});
    std::string word;
    for (int n = 0; n < 40; ++n) word += static_cast<char>('a' + random() % 3);
    std::vector<double> best(word.size() + 1, -1e9);
    best[0] = 0;
    for (size_t end = 1; end <= word.size(); ++end) {
      for (const auto& [token, score] : tokens) {
        if (word.substr(0, end).ends_with(token))
          best[end] = std::max(best[end], best[end - token.size()] + score);
      }
    }
    double sum = 0;
    std::string joined;
    for (const uint32_t id : Encode(*model, word)) {
      sum += tokens[id].second;
      joined += tokens[id].first;
    }
    EXPECT_EQ(joined, word);
    EXPECT_DOUBLE_EQ(sum, best.back());
  }
}

TEST(Rwkv, TheLongestTokenWins) {
  Vocabulary vocabulary;
  const std::vector<std::string> tokens = {"a", "b", "abc", "abcde", "\xC3", "\xA9"};
  Ids matched;
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    ASSERT_TRUE(vocabulary.Add(tokens[id], id + 1).ok());
    matched.push_back(id + 1);
  }
  const auto model = *RwkvModel::Create(std::move(vocabulary), matched, std::nullopt);
  EXPECT_EQ(Encode(*model, "abcdabcde"), (Ids{3, 4}));  // no token begins with d
  EXPECT_EQ(Encode(*model, "abéa"), (Ids{1, 2, 5, 6, 1}));
}

TEST(Rwkv, PythonLiterals) {
  EXPECT_EQ(BytesOfPythonLiteral(R"(a\t\n\r\\\'\"\xe4\x00z)"),
            std::string("a\t\n\r\\'\"\xE4\0z", 10));
  EXPECT_EQ(BytesOfPythonLiteral("é '"), "é '");
  EXPECT_EQ(BytesOfPythonLiteral(""), "");
  for (const char* broken : {"\\", "a\\", "\\x", "\\x1", "\\xg0", "\\x0g", "\\q"}) {
    EXPECT_EQ(BytesOfPythonLiteral(broken), std::nullopt) << broken;
  }
}

TEST(ByteTrie, FindsWhatIsInIt) {
  std::mt19937 random(13);
  std::vector<std::string> texts;
  for (int n = 0; n < 3000; ++n) {
    std::string text;
    for (size_t size = random() % 5; size > 0; --size) text += static_cast<char>(random() % 40 * 6);
    texts.push_back(text);
  }
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  std::map<std::string, uint32_t> want;
  for (uint32_t i = 0; i < texts.size(); i += 2) {
    entries.emplace_back(texts[i], i);
    want[texts[i]] = i;  // the last one counts
  }
  want.erase("");
  const ByteTrie trie = *ByteTrie::Build(entries);
  EXPECT_EQ(trie.longest(), 4u);
  for (const std::string& text : texts) {
    const auto found = want.find(text);
    EXPECT_EQ(trie.Find(text), found == want.end() ? ByteTrie::kNone : found->second);
  }
  EXPECT_EQ(ByteTrie::Build({})->Find("a"), ByteTrie::kNone);
}

TEST(MergeQueue, LowestRankThenLeftmost) {
  std::mt19937 random(17);
  MergeQueue queue;
  for (int round = 0; round < 20; ++round) {
    queue.Clear();
    std::multiset<std::pair<uint32_t, int32_t>> want;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 3 != 0) {
        const MergeQueue::Candidate added{static_cast<uint32_t>(random() % 9),
                                          static_cast<int32_t>(random() % 100)};
        queue.Push(added);
        want.emplace(added.rank, added.position);
        continue;
      }
      MergeQueue::Candidate top;
      ASSERT_EQ(queue.Pop(&top), !want.empty());
      if (want.empty()) continue;
      EXPECT_EQ(std::pair(top.rank, top.position), *want.begin());
      want.erase(want.begin());
    }
  }
}

}  // namespace
}  // namespace shardline
