// Splits a template into tokens, with Jinja's rules for whitespace around tags: trim_blocks (the
// newline after a block or comment goes) and lstrip_blocks (blanks before it on its line go), both
// undone by `+` and widened by `-`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

enum class TokenType {
  kData,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;  // the data, name, operator or string value
  Int integer = 0;
  double number = 0;

  bool IsOperator(std::string_view symbol) const {
    return type == TokenType::kOperator && text == symbol;
  }
  bool IsName(std::string_view name) const { return type == TokenType::kName && text == name; }
};

// How an error message names a token.
std::string Describe(const Token& token);
std::string Describe(TokenType type);

// Throws Error (kSyntax). The last token is kEnd.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace shardline::jinja
