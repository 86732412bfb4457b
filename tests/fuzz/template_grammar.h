// Random parts of the template language: expressions, calls and statements that mostly parse, over
// the variables that template_fuzzer gives, with arguments that are often of the wrong kind.
#pragma once

#include <string>

#include "tests/fuzz/mutate.h"

namespace shardline::fuzz {

class TemplateGrammar {
 public:
  explicit TemplateGrammar(Random& random) : random_(random) {}

  std::string Expression(int depth);
  std::string Operand(int depth);  // an expression that may stand before a postfix
  std::string Postfix(int depth);  // a filter, test, method, attribute, subscript or call
  std::string Literal();
  std::string Operator();  // between two operands
  std::string Statement(int depth);
  std::string Body(int depth);

 private:
  template <size_t N>
  const char* Of(const char* const (&list)[N]) {
    return list[random_() % N];
  }
  bool Chance(unsigned of) { return random_() % of == 0; }
  std::string Arguments(int depth);
  std::string Argument(int depth);
  std::string Filter(int depth);
  std::string Test(int depth);
  std::string PercentFormat(int depth);
  std::string BraceFormat(int depth);
  std::string Time();
  std::string Target();
  std::string Macro(int depth);
  std::string Tag(const std::string& inside);

  Random& random_;
};

}  // namespace shardline::fuzz
