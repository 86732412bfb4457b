#include "tests/deploy/promql.h"

#include <algorithm>
#include <vector>

namespace shardline {
namespace {

constexpr std::string_view kSpace = " \t\n";

bool InName(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == ':';
}

// Names, quoted strings, ranges ("[5m]") as one token each, anything else a character at a time.
std::vector<std::string> Tokens(std::string_view text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (kSpace.find(text[i]) != std::string_view::npos) {
      ++i;
      continue;
    }
    if (text[i] == '"' || text[i] == '[') {
      const char close = text[i] == '"' ? '"' : ']';
      i = std::min(text.find(close, i + 1), text.size() - 1) + 1;
    } else if (InName(text[i])) {
      while (i < text.size() && (InName(text[i]) || text[i] == '.')) ++i;
    } else {
      ++i;
    }
    tokens.emplace_back(text.substr(begin, i - begin));
  }
  return tokens;
}

bool IsName(const std::string& token) {
  return !token.empty() && InName(token[0]) && !(token[0] >= '0' && token[0] <= '9');
}

template <size_t N>
bool OneOf(const std::string& token, const char* const (&words)[N]) {
  return std::find(std::begin(words), std::end(words), token) != std::end(words);
}

constexpr const char* kGrouping[] = {"by",       "without",    "on",
                                     "ignoring", "group_left", "group_right"};
constexpr const char* kOperators[] = {"and", "or", "unless", "bool", "offset", "inf", "nan"};

// label="value", … from tokens[at] to the closing brace; returns the place after it.
size_t ReadMatchers(const std::vector<std::string>& tokens, size_t at, const std::string& metric,
                    PromqlNames* names) {
  for (; at < tokens.size() && tokens[at] != "}"; ++at) {
    if (!IsName(tokens[at])) continue;
    names->matchers.emplace(metric, tokens[at]);
    // label = "value" and label ! = "value"; patterns (=~, !~) name no single value.
    const size_t value = at + 1 < tokens.size() && tokens[at + 1] == "!" ? at + 3 : at + 2;
    if (value < tokens.size() && tokens[value - 1] == "=" && tokens[value][0] == '"') {
      names->values.emplace(tokens[at], tokens[value].substr(1, tokens[value].size() - 2));
    }
  }
  return at + 1;
}

}  // namespace

PromqlNames NamesOf(std::string_view expression) {
  const std::vector<std::string> tokens = Tokens(expression);
  PromqlNames names;
  for (size_t i = 0; i < tokens.size();) {
    const std::string& token = tokens[i++];
    if (!IsName(token) || OneOf(token, kOperators)) continue;
    const std::string next = i < tokens.size() ? tokens[i] : "";
    if (OneOf(token, kGrouping)) {
      if (next != "(") continue;
      for (; i < tokens.size() && tokens[i] != ")"; ++i) {
        if (IsName(tokens[i])) names.grouping.insert(tokens[i]);
      }
    } else if (next != "(" && !(i < tokens.size() && OneOf(next, kGrouping))) {
      names.metrics.insert(token);
      if (next == "{") i = ReadMatchers(tokens, i + 1, token, &names);
    }
  }
  return names;
}

}  // namespace shardline
