// The parser of literals, names, targets, subscripts, calls, filters and tests.
#include <algorithm>
#include <set>

#include "gateway/text/jinja/parser_state.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

namespace {

bool IsTupleEnd(const Token& token) {
  return token.type == TokenType::kVariableEnd || token.type == TokenType::kBlockEnd ||
         token.IsOperator(")");
}

const char* NodeName(ExprKind kind) {  // as Jinja's messages name nodes
  switch (kind) {
    case ExprKind::kConstant:
      return "const";
    case ExprKind::kList:
      return "list";
    case ExprKind::kDict:
      return "dict";
    case ExprKind::kTuple:
      return "tuple";
    case ExprKind::kConditional:
      return "condexpr";
    case ExprKind::kAnd:
      return "and";
    case ExprKind::kOr:
      return "or";
    case ExprKind::kNot:
      return "not";
    case ExprKind::kNegate:
      return "neg";
    case ExprKind::kPositive:
      return "pos";
    case ExprKind::kAdd:
      return "add";
    case ExprKind::kSubtract:
      return "sub";
    case ExprKind::kMultiply:
      return "mul";
    case ExprKind::kDivide:
      return "div";
    case ExprKind::kFloorDivide:
      return "floordiv";
    case ExprKind::kModulo:
      return "mod";
    case ExprKind::kPower:
      return "pow";
    case ExprKind::kConcat:
      return "concat";
    case ExprKind::kCompare:
      return "compare";
    case ExprKind::kAttribute:
      return "getattr";
    case ExprKind::kItem:
    case ExprKind::kSlice:
      return "getitem";
    case ExprKind::kCall:
      return "call";
    case ExprKind::kFilter:
      return "filter";
    case ExprKind::kTest:
      return "test";
    default:
      return "name";
  }
}

}  // namespace

ExprPtr Parser::ParsePrimary(bool with_namespace) {
  const Token& token = current();
  const int line = token.line;
  if (token.type == TokenType::kName) {
    const std::string name = Next().text;
    if (name == "true" || name == "True") return NewConstant(true, line);
    if (name == "false" || name == "False") return NewConstant(false, line);
    if (name == "none" || name == "None") return NewConstant(std::monostate(), line);
    if (with_namespace && SkipOperator(".")) {
      ExprPtr expr = NewExpr(ExprKind::kNamespace, line);
      expr->slot = Slot(name);
      expr->name = ExpectName();
      return expr;
    }
    ExprPtr expr = NewExpr(ExprKind::kName, line);
    expr->slot = Slot(name);
    expr->name = name;
    return expr;
  }
  if (token.type == TokenType::kString) {
    std::string text;
    while (current().type == TokenType::kString) text += Next().text;
    return NewConstant(std::move(text), line);
  }
  if (token.type == TokenType::kInteger) return NewConstant(Next().integer, line);
  if (token.type == TokenType::kFloat) return NewConstant(Next().number, line);
  if (token.IsOperator("(")) {
    const Nesting nesting(this);
    Next();
    ExprPtr expr = ParseTuple(TupleMode::kParenthesised);
    ExpectOperator(")");
    return expr;
  }
  if (token.IsOperator("[")) return ParseListLiteral();
  if (token.IsOperator("{")) return ParseDictLiteral();
  Fail(Cat("unexpected ", ReprText(Describe(token))), line);
}

ExprPtr Parser::ParseListLiteral() {
  const int line = Next().line;
  std::vector<ExprPtr> items;
  while (!current().IsOperator("]")) {
    if (!items.empty()) ExpectOperator(",");
    if (current().IsOperator("]")) break;
    items.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return NewExpr(ExprKind::kList, line, std::move(items));
}

ExprPtr Parser::ParseDictLiteral() {
  const int line = Next().line;
  std::vector<ExprPtr> items;
  while (!current().IsOperator("}")) {
    if (!items.empty()) ExpectOperator(",");
    if (current().IsOperator("}")) break;
    items.push_back(ParseExpression());
    ExpectOperator(":");
    items.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return NewExpr(ExprKind::kDict, line, std::move(items));
}

ExprPtr Parser::ParseTuple(TupleMode mode, std::string_view end_name) {
  int line = current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) ExpectOperator(",");
    if (IsTupleEnd(current()) || (!end_name.empty() && current().IsName(end_name))) break;
    switch (mode) {
      case TupleMode::kTarget:
        items.push_back(ParsePrimary(false));
        break;
      case TupleMode::kTargetWithNamespace:
        items.push_back(ParsePrimary(true));
        break;
      case TupleMode::kNoCondition:
        items.push_back(ParseExpression(false));
        break;
      default:
        items.push_back(ParseExpression());
        break;
    }
    if (!current().IsOperator(",")) break;
    is_tuple = true;
    line = current().line;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (mode != TupleMode::kParenthesised) {
      Fail(Cat("Expected an expression, got ", ReprText(Describe(current()))));
    }
  }
  return NewExpr(ExprKind::kTuple, line, std::move(items));
}

void Parser::CheckTarget(const Expr& target) {
  if (target.kind == ExprKind::kNamespace) return;
  if (target.kind == ExprKind::kName) {
    if (target.name == "loop") ++loop_stores_;
    return;
  }
  if (target.kind == ExprKind::kTuple) {
    const bool assignable =
        std::all_of(target.items.begin(), target.items.end(), [](const auto& item) {
          return item->kind == ExprKind::kName || item->kind == ExprKind::kTuple ||
                 item->kind == ExprKind::kNamespace;
        });
    if (assignable) {
      for (const ExprPtr& item : target.items) CheckTarget(*item);
      return;
    }
  }
  Fail(Cat("can't assign to '", NodeName(target.kind), "'"), target.line);
}

ExprPtr Parser::ParseTarget(bool with_namespace, std::string_view end_name) {
  ExprPtr target =
      ParseTuple(with_namespace ? TupleMode::kTargetWithNamespace : TupleMode::kTarget, end_name);
  CheckTarget(*target);
  return target;
}

int Parser::ParseTargetName(std::string* name) {
  const int line = current().line;
  *name = ExpectName();
  static const std::set<std::string, std::less<>> kReserved = {"true", "false", "none",
                                                               "True", "False", "None"};
  if (kReserved.contains(*name)) Fail("can't assign to 'name'", line);
  return Slot(*name);
}

ExprPtr Parser::ParsePostfix(ExprPtr expr) {
  while (true) {
    if (current().IsOperator(".") || current().IsOperator("[")) {
      expr = ParseSubscript(std::move(expr));
    } else if (current().IsOperator("(")) {
      const int line = current().line;
      std::vector<ExprPtr> items;
      items.push_back(std::move(expr));
      ArgumentExprs arguments = ParseArguments();
      expr = NewExpr(ExprKind::kCall, line, std::move(items));
      expr->arguments = std::move(arguments);
      SetDepth(expr.get());
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::ParseFilterExpr(ExprPtr expr) {
  while (true) {
    if (current().IsOperator("|")) {
      expr = ParseFilter(std::move(expr));
    } else if (current().IsName("is")) {
      expr = ParseTest(std::move(expr));
    } else if (current().IsOperator("(")) {
      const int line = current().line;
      std::vector<ExprPtr> items;
      items.push_back(std::move(expr));
      ArgumentExprs arguments = ParseArguments();
      expr = NewExpr(ExprKind::kCall, line, std::move(items));
      expr->arguments = std::move(arguments);
      SetDepth(expr.get());
    } else {
      return expr;
    }
  }
}

ExprPtr Parser::ParseSubscript(ExprPtr expr) {
  const Nesting nesting(this);
  const Token token = Next();
  if (token.text == ".") {
    const Token attribute = Next();
    if (attribute.type == TokenType::kName) {
      std::vector<ExprPtr> items;
      items.push_back(std::move(expr));
      ExprPtr result = NewExpr(ExprKind::kAttribute, token.line, std::move(items));
      result->name = attribute.text;
      return result;
    }
    if (attribute.type != TokenType::kInteger) Fail("expected name or number", attribute.line);
    return Binary(ExprKind::kItem, token.line, std::move(expr),
                  NewConstant(attribute.integer, attribute.line));
  }
  std::vector<ExprPtr> keys;
  while (!current().IsOperator("]")) {
    if (!keys.empty()) ExpectOperator(",");
    keys.push_back(ParseSubscribed());
  }
  ExpectOperator("]");
  if (keys.size() == 1) {
    // A slice of something already (x[y[0:1]]) is an ordinary key.
    if (keys[0]->kind == ExprKind::kSlice && keys[0]->items[0] == nullptr) {
      keys[0]->items[0] = std::move(expr);
      SetDepth(keys[0].get());
      return std::move(keys[0]);
    }
    return Binary(ExprKind::kItem, token.line, std::move(expr), std::move(keys[0]));
  }
  for (const ExprPtr& key : keys) {
    if (key->kind == ExprKind::kSlice && key->items[0] == nullptr)
      Fail("invalid syntax", token.line);
  }
  ExprPtr tuple = NewExpr(ExprKind::kTuple, token.line, std::move(keys));
  return Binary(ExprKind::kItem, token.line, std::move(expr), std::move(tuple));
}

ExprPtr Parser::ParseSubscribed() {
  const int line = current().line;
  const auto at_end = [&] { return current().IsOperator("]") || current().IsOperator(","); };
  ExprPtr start, stop, step;
  if (!current().IsOperator(":")) {
    start = ParseExpression();
    if (!current().IsOperator(":")) return start;
  }
  Next();
  if (!current().IsOperator(":") && !at_end()) stop = ParseExpression();
  if (SkipOperator(":") && !at_end()) step = ParseExpression();
  std::vector<ExprPtr> items;
  items.push_back(nullptr);  // the sliced object, filled in by the caller
  items.push_back(std::move(start));
  items.push_back(std::move(stop));
  items.push_back(std::move(step));
  return NewExpr(ExprKind::kSlice, line, std::move(items));
}

ArgumentExprs Parser::ParseArguments() {
  const Nesting nesting(this);
  const int line = Next().line;
  ArgumentExprs arguments;
  const auto ensure = [&](bool valid) {
    if (!valid) Fail("invalid syntax for function call expression", line);
  };
  std::set<std::string> names;
  bool require_comma = false;
  while (!current().IsOperator(")")) {
    if (require_comma) {
      ExpectOperator(",");
      if (current().IsOperator(")")) break;
    }
    if (SkipOperator("*")) {
      ensure(!arguments.more_positional && !arguments.more_keyword);
      arguments.more_positional = ParseExpression();
    } else if (SkipOperator("**")) {
      ensure(!arguments.more_keyword);
      arguments.more_keyword = ParseExpression();
    } else if (current().type == TokenType::kName && ahead().IsOperator("=")) {
      ensure(!arguments.more_keyword);
      std::string name = Next().text;
      Next();
      if (!names.insert(name).second) Fail(Cat("keyword argument repeated: ", name), line);
      arguments.keyword.emplace_back(std::move(name), ParseExpression());
    } else {
      ensure(!arguments.more_positional && !arguments.more_keyword && arguments.keyword.empty());
      arguments.positional.push_back(ParseExpression());
    }
    require_comma = true;
  }
  ExpectOperator(")");
  return arguments;
}

ExprPtr Parser::ParseFilter(ExprPtr expr, bool inline_start) {
  while (inline_start || current().IsOperator("|")) {
    if (!inline_start) Next();
    inline_start = false;
    const int line = current().line;
    std::string name = ExpectName();
    while (SkipOperator(".")) name += Cat(".", ExpectName());
    const Native* native = FindFilter(name);
    if (native == nullptr && !soft_)
      unknown_.push_back({Cat("No filter named '", name, "'."), line});
    std::vector<ExprPtr> items;
    items.push_back(std::move(expr));
    ArgumentExprs arguments;
    if (current().IsOperator("(")) arguments = ParseArguments();
    expr = NewExpr(ExprKind::kFilter, line, std::move(items));
    expr->name = std::move(name);
    expr->native = native;
    expr->arguments = std::move(arguments);
    SetDepth(expr.get());
  }
  return expr;
}

ExprPtr Parser::ParseTest(ExprPtr expr) {
  const int line = Next().line;
  const bool negated = SkipName("not");
  const int name_line = current().line;
  std::string name = ExpectName();
  while (SkipOperator(".")) name += Cat(".", ExpectName());
  const Native* native = FindTest(name);
  if (native == nullptr && !soft_)
    unknown_.push_back({Cat("No test named '", name, "'."), name_line});
  ArgumentExprs arguments;
  const Token& token = current();
  const bool starts_argument =
      token.type == TokenType::kString || token.type == TokenType::kInteger ||
      token.type == TokenType::kFloat || token.IsOperator("[") || token.IsOperator("{") ||
      (token.type == TokenType::kName && token.text != "else" && token.text != "or" &&
       token.text != "and");
  if (token.IsOperator("(")) {
    arguments = ParseArguments();
  } else if (starts_argument) {
    if (token.IsName("is")) Fail("You cannot chain multiple tests with is");
    arguments.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  std::vector<ExprPtr> items;
  items.push_back(std::move(expr));
  ExprPtr test = NewExpr(ExprKind::kTest, line, std::move(items));
  test->name = std::move(name);
  test->native = native;
  test->arguments = std::move(arguments);
  SetDepth(test.get());
  if (!negated) return test;
  std::vector<ExprPtr> inner;
  inner.push_back(std::move(test));
  return NewExpr(ExprKind::kNot, line, std::move(inner));
}

}  // namespace shardline::jinja
