// Utf8Stream against a reference decoder: all byte pairs and triples of interesting bytes, whole
// and split.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "gateway/text/detokenizer.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

// Table 3-7 of the Unicode Standard written out: the longest prefix of a well-formed sequence is
// one ill-formed part.
std::string Reference(std::string_view bytes) {
  struct Row {
    int low[4], high[4], length;
  };
  static const std::vector<Row> rows = {
      {{0x00}, {0x7F}, 1},
      {{0xC2, 0x80}, {0xDF, 0xBF}, 2},
      {{0xE0, 0xA0, 0x80}, {0xE0, 0xBF, 0xBF}, 3},
      {{0xE1, 0x80, 0x80}, {0xEC, 0xBF, 0xBF}, 3},
      {{0xED, 0x80, 0x80}, {0xED, 0x9F, 0xBF}, 3},
      {{0xEE, 0x80, 0x80}, {0xEF, 0xBF, 0xBF}, 3},
      {{0xF0, 0x90, 0x80, 0x80}, {0xF0, 0xBF, 0xBF, 0xBF}, 4},
      {{0xF1, 0x80, 0x80, 0x80}, {0xF3, 0xBF, 0xBF, 0xBF}, 4},
      {{0xF4, 0x80, 0x80, 0x80}, {0xF4, 0x8F, 0xBF, 0xBF}, 4},
  };
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    size_t longest = 1;
    bool whole = false;
    for (const Row& row : rows) {
      size_t n = 0;
      while (n < static_cast<size_t>(row.length) && i + n < bytes.size()) {
        const int byte = static_cast<unsigned char>(bytes[i + n]);
        if (byte < row.low[n] || byte > row.high[n]) break;
        ++n;
      }
      if (n == static_cast<size_t>(row.length)) {
        whole = true;
        longest = n;
      } else if (!whole && n > longest) {
        longest = n;
      }
    }
    out += whole ? std::string(bytes.substr(i, longest)) : "\xEF\xBF\xBD";
    i += longest;
  }
  return out;
}

std::string Streamed(std::string_view bytes, size_t chunk) {
  Utf8Stream stream;
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += chunk) {
    const std::string piece = stream.Push(bytes.substr(i, chunk));
    EXPECT_TRUE(IsWellFormedUtf8(piece));
    out += piece;
  }
  return out + stream.Finish();
}

TEST(Utf8Stream, EveryBytePair) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string bytes = {static_cast<char>(a), static_cast<char>(b)};
      ASSERT_EQ(Streamed(bytes, 1), Reference(bytes)) << a << " " << b;
      ASSERT_EQ(ReplaceIllFormed(bytes), Reference(bytes)) << a << " " << b;
    }
  }
}

TEST(Utf8Stream, EveryBytePairInOneStream) {
  std::string bytes;
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      bytes.push_back(static_cast<char>(a));
      bytes.push_back(static_cast<char>(b));
    }
  }
  for (const size_t chunk : {1, 2, 3, 7, 1000}) EXPECT_EQ(Streamed(bytes, chunk), Reference(bytes));
}

TEST(Utf8Stream, BordersOfEveryRange) {
  const std::vector<int> borders = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                    0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
                                    0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
  std::string bytes(5, '\0');
  const size_t n = borders.size();
  for (size_t code = 0; code < n * n * n * n; ++code) {
    size_t rest = code;
    for (size_t i = 0; i < 4; ++i, rest /= n) bytes[i] = static_cast<char>(borders[rest % n]);
    bytes[4] = 'x';
    ASSERT_EQ(Streamed(bytes, 1), Reference(bytes)) << code;
  }
}

TEST(Utf8Stream, HoldsBackNoMoreThanAnUnfinishedCharacter) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    Utf8Stream stream;
    std::string bytes, out;
    for (int i = 0; i < 40; ++i) {
      bytes.push_back(static_cast<char>(random() % 3 == 0 ? random() % 128 : random()));
      out += stream.Push(bytes.substr(bytes.size() - 1));
      // What is missing is exactly an unfinished character at the end.
      size_t at = 0;
      Utf8Scan scan{Utf8Part::kCharacter, 0};
      for (; at < bytes.size(); at += scan.length) {
        scan = ScanUtf8(bytes, at);
        if (scan.part == Utf8Part::kIncomplete) break;
      }
      ASSERT_EQ(out, Reference(bytes.substr(0, at)));
      ASSERT_LE(bytes.size() - at, 3u);
    }
  }
}

TEST(Utf8, CharactersRoundTrip) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(text, c);
    size_t at = 0;
    ASSERT_EQ(NextCharacter(text, &at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(CharacterLength(text[0]), text.size());
    ASSERT_TRUE(IsWellFormedUtf8(text));
  }
}

}  // namespace
}  // namespace shardline
