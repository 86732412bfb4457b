// Takes a template apart into text and tags, and tags into tokens, without asking the interpreter's
// lexer. Parts are dropped, doubled, moved or replaced with what the grammar makes.
#include <algorithm>
#include <cstring>
#include <vector>

#include "shared/base/strings.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/template_grammar.h"

namespace shardline::fuzz {
namespace {

struct Part {
  size_t begin, end;
};

bool IsTag(std::string_view text, size_t at) {
  return at + 1 < text.size() && text[at] == '{' && std::strchr("{%#", text[at + 1]) != nullptr;
}

// Text and tags in turn; a tag ends with the first closing mark.
std::vector<Part> Segments(std::string_view text) {
  std::vector<Part> parts;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (IsTag(text, at)) {
      const char closing[] = {text[at + 1] == '{' ? '}' : text[at + 1], '}', '\0'};
      end = text.find(closing, at + 2);
      end = end == std::string_view::npos ? text.size() : end + 2;
    } else {
      while (end < text.size() && !IsTag(text, end)) ++end;
    }
    parts.push_back({at, end});
    at = end;
  }
  return parts;
}

// Of a tag's inside: names, numbers, strings, and single characters of all else.
std::vector<Part> Tokens(std::string_view text, Part tag) {
  std::vector<Part> tokens;
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (size_t at = tag.begin + 2; at + 2 < tag.end;) {
    size_t end = at + 1;
    if (text[at] == '\'' || text[at] == '"') {
      while (end < tag.end && text[end] != text[at]) end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, tag.end);
    } else if (word(text[at])) {
      while (end < tag.end && word(text[end])) ++end;
    }
    if (text[at] != ' ') tokens.push_back({at, end});
    at = end;
  }
  return tokens;
}

bool IsOperand(std::string_view token) {
  return std::isalnum(static_cast<unsigned char>(token[0])) || token[0] == '_' ||
         token[0] == '\'' || token[0] == '"';
}

// Within one tag.
std::string MutateTag(std::string_view text, Part tag, Random& random) {
  TemplateGrammar grammar(random);
  std::string out(text);
  const std::vector<Part> tokens = Tokens(text, tag);
  if (tokens.empty()) return out.insert(tag.begin, grammar.Body(1));
  const Part at = tokens[random() % tokens.size()], from = tokens[random() % tokens.size()];
  const auto replace = [&](const std::string& with) {
    return out.replace(at.begin, at.end - at.begin, with);
  };
  const bool operand = IsOperand(text.substr(at.begin));
  switch (random() % 8) {
    case 0:
    case 1:
      return replace(operand ? grammar.Operand(2) : grammar.Operator());
    case 2:
    case 3:
      return out.insert(at.end, operand ? grammar.Postfix(1) : grammar.Operand(1));
    case 4:
      return replace(operand ? grammar.Literal() : std::string());
    case 5:
      return replace(std::string(text.substr(from.begin, from.end - from.begin)));
    case 6:
      return out.insert(at.end, operand ? grammar.Operator() + grammar.Operand(1) : ", x=1");
    default:
      return replace("");
  }
}

std::string MutateSource(std::string_view text, Random& random) {
  TemplateGrammar grammar(random);
  const std::vector<Part> segments = Segments(text);
  std::string out(text);
  if (segments.empty()) return grammar.Body(2);
  const Part at = segments[random() % segments.size()], from = segments[random() % segments.size()];
  const std::string other(text.substr(from.begin, from.end - from.begin));
  switch (random() % 16) {
    case 0:
      return grammar.Body(3);
    case 1:
      return out.insert(at.begin, grammar.Statement(2));
    case 2:
      return out.insert(at.end, Cat("{{ ", grammar.Expression(3), " }}"));
    case 3:
      return out.erase(at.begin, at.end - at.begin);
    case 4:
      return out.insert(at.begin, other);
    case 5:
      return out.replace(at.begin, at.end - at.begin, other);
    case 6:
      return out.erase(at.begin + random() % (at.end - at.begin));
    case 7:
      out[at.begin + random() % (at.end - at.begin)] = static_cast<char>(random());
      return out;
    default:
      return IsTag(text, at.begin) ? MutateTag(text, at, random)
                                   : out.insert(at.begin, Cat("{{ ", grammar.Expression(2), " }}"));
  }
}

// One template of a list of them.
std::string OneOf(std::string_view list, Random& random) {
  std::vector<std::string> templates;
  ForEachTemplate(list, [&](std::string_view source) { templates.emplace_back(source); });
  return templates.empty() ? std::string() : templates[random() % templates.size()];
}

}  // namespace

std::string MutateTemplate(std::string_view text, Random& random) {
  if (text.starts_with("# ")) return MutateSource(OneOf(text, random), random);
  const size_t end = std::min(text.find('\0'), text.size());
  const std::string_view variables = text.substr(std::min(end + 1, text.size()));
  if (variables.empty() || random() % 3 != 0) {
    return Cat(MutateSource(text.substr(0, end), random), text.substr(end));
  }
  return Cat(text.substr(0, end + 1), MutateJson(variables, random));
}

}  // namespace shardline::fuzz
