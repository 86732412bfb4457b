// Finds the spans of a JSON text's values without building a document, so that what is written back
// is the same text but for the lie.
#include <algorithm>
#include <cstring>
#include <vector>

#include "shared/base/strings.h"
#include "tests/fuzz/mutate.h"

namespace shardline::fuzz {
namespace {

struct Span {
  size_t begin, end;
  bool key = false;
};

// Every value and key of the text, as far as it is JSON.
std::vector<Span> Spans(std::string_view text) {
  std::vector<Span> spans;
  std::vector<size_t> open;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t begin = i;
    if (c == '{' || c == '[') {
      open.push_back(i++);
    } else if (c == '}' || c == ']') {
      ++i;
      if (open.empty()) continue;
      spans.push_back({open.back(), i});
      open.pop_back();
    } else if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
      i = std::min(i + 1, text.size());
      const size_t next = text.find_first_not_of(" \t\r\n", i);
      spans.push_back({begin, i, next != std::string_view::npos && text[next] == ':'});
    } else if (std::strchr("-0123456789tfn", c) != nullptr && c != '\0') {
      i = std::min(text.find_first_of(",]} \t\r\n", i), text.size());
      spans.push_back({begin, i});
    } else {
      ++i;
    }
  }
  return spans;
}

std::string HostileValue(Random& random) {
  static constexpr const char* kValues[] = {"null",
                                            "true",
                                            "false",
                                            "0",
                                            "1",
                                            "-1",
                                            "2",
                                            "3",
                                            "0.5",
                                            "-0.0",
                                            "1e-320",
                                            "1e38",
                                            "1e39",
                                            "1e308",
                                            "1e400",
                                            "-1e400",
                                            "2147483647",
                                            "2147483648",
                                            "4294967295",
                                            "4294967296",
                                            "9223372036854775807",
                                            "9223372036854775808",
                                            "18446744073709551615",
                                            "18446744073709551616",
                                            "-9223372036854775808",
                                            "\"\"",
                                            "\"x\"",
                                            "\"\\u0000\"",
                                            "\"\\ud800\"",
                                            "\"\\n\"",
                                            "[]",
                                            "{}",
                                            "[[]]",
                                            "[0]",
                                            "[-1]",
                                            "[1,2]",
                                            "[\"a\",\"b\"]",
                                            "{\"type\":\"Sequence\"}",
                                            "\"../x\"",
                                            "\"(a+)+$\"",
                                            "nan"};
  const size_t pick = random() % (std::size(kValues) + 3);
  if (pick < std::size(kValues)) return kValues[pick];
  if (pick == std::size(kValues)) return std::string(200, '[') + std::string(200, ']');
  if (pick == std::size(kValues) + 1) return Cat("\"", std::string(5000, 'a'), "\"");
  return std::to_string(HostileNumber(random, random()));
}

}  // namespace

std::string MutateJson(std::string_view text, Random& random) {
  const std::vector<Span> spans = Spans(text);
  std::string out(text);
  if (spans.empty()) return out + HostileValue(random);
  const auto any = [&] { return spans[random() % spans.size()]; };
  const Span at = any(), from = any();
  const auto replace = [&](const std::string& value) {
    out.replace(at.begin, at.end - at.begin, value);
  };
  switch (random() % 8) {
    case 0:
    case 1:
    case 2: {
      // Numbers keep near what they were.
      const bool number = text[at.begin] == '-' || (text[at.begin] >= '0' && text[at.begin] <= '9');
      if (number && random() % 2 == 0) {
        const uint64_t was = std::strtoull(out.substr(at.begin, 20).c_str(), nullptr, 10);
        replace(std::to_string(HostileNumber(random, was)));
      } else if (!at.key) {
        replace(HostileValue(random));
      } else {
        replace("\"renamed\"");
      }
      break;
    }
    case 3:  // a value from elsewhere in the file
      if (at.key == from.key) replace(std::string(text.substr(from.begin, from.end - from.begin)));
      break;
    case 4: {  // gone with its comma
      const size_t comma = out.find(',', at.end);
      out.erase(at.begin, (comma == std::string::npos ? at.end : comma + 1) - at.begin);
      break;
    }
    case 5: {  // doubled, in a list or as a member
      const size_t end = std::min(out.find_first_of(",]}", at.end), out.size());
      out.insert(end, Cat(",", text.substr(at.begin, end - at.begin)));
      break;
    }
    case 6:  // a level deeper
      if (!at.key) replace(Cat("[", text.substr(at.begin, at.end - at.begin), "]"));
      break;
    default:  // inside a text, or anywhere
      if (at.end > at.begin + 1)
        out[at.begin + random() % (at.end - at.begin)] = static_cast<char>(random());
  }
  return out;
}

std::string MutateSafetensors(std::string_view file, Random& random) {
  uint64_t length = 0;
  if (file.size() < sizeof(length)) return std::string(file) + std::string(8, '\0');
  std::memcpy(&length, file.data(), sizeof(length));
  length = std::min<uint64_t>(length, file.size() - sizeof(length));
  std::string header(file.substr(sizeof(length), length));
  std::string body(file.substr(sizeof(length) + length));
  const unsigned kind = random() % 8;
  if (kind > 1) header = MutateJson(header, random);
  if (kind == 0) {
    const size_t sizes[] = {random() % 4096, body.size() + 1, std::max<size_t>(body.size(), 1) - 1};
    body.resize(sizes[random() % 3]);
  }
  length = kind == 1 ? HostileNumber(random, length) : header.size();
  std::string out(sizeof(length), '\0');
  std::memcpy(out.data(), &length, sizeof(length));
  return out + header + body;
}

}  // namespace shardline::fuzz
