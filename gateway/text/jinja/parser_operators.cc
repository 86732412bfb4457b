// The parser of operators, from conditional expressions down to unary minus.
#include <algorithm>

#include "gateway/text/jinja/parser_state.h"

namespace shardline::jinja {

namespace {

constexpr int kMaxExprDepth = 220;  // of one expression's tree

std::vector<ExprPtr> Pair(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> items;
  items.push_back(std::move(a));
  items.push_back(std::move(b));
  return items;
}

}  // namespace

void Parser::SetDepth(Expr* expr) const {
  int deepest = 0;
  const auto visit = [&](const ExprPtr& child) {
    if (child) deepest = std::max(deepest, child->depth);
  };
  std::for_each(expr->items.begin(), expr->items.end(), visit);
  std::for_each(expr->arguments.positional.begin(), expr->arguments.positional.end(), visit);
  for (const auto& [name, value] : expr->arguments.keyword) visit(value);
  visit(expr->arguments.more_positional);
  visit(expr->arguments.more_keyword);
  expr->depth = deepest + 1;
  if (expr->depth > kMaxExprDepth) Fail("an expression is nested too deeply", expr->line);
}

ExprPtr Parser::NewExpr(ExprKind kind, int line, std::vector<ExprPtr> items) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->items = std::move(items);
  SetDepth(expr.get());
  return expr;
}

ExprPtr Parser::NewConstant(Constant constant, int line) {
  ExprPtr expr = NewExpr(ExprKind::kConstant, line);
  expr->slot = ConstantIndex(std::move(constant));
  return expr;
}

ExprPtr Parser::Binary(ExprKind kind, int line, ExprPtr left, ExprPtr right) const {
  return NewExpr(kind, line, Pair(std::move(left), std::move(right)));
}

ExprPtr Parser::ParseExpression(bool with_condition) {
  const Nesting nesting(this);
  return with_condition ? ParseCondition() : ParseOr();
}

ExprPtr Parser::ParseCondition() {
  int line = current().line;
  const bool soft_before = soft_;
  const size_t unknown_before = unknown_.size();
  ExprPtr expr = ParseOr();
  if (!current().IsName("if")) return expr;
  // A conditional expression: filters in any of its parts are looked up when they are reached.
  unknown_.resize(unknown_before);
  soft_ = true;
  while (SkipName("if")) {
    std::vector<ExprPtr> items;
    items.push_back(std::move(expr));
    items.push_back(ParseOr());
    items.push_back(SkipName("else") ? ParseExpression() : nullptr);
    expr = NewExpr(ExprKind::kConditional, line, std::move(items));
    line = current().line;
  }
  soft_ = soft_before;
  return expr;
}

ExprPtr Parser::ParseOr() {
  int line = current().line;
  ExprPtr left = ParseAnd();
  while (SkipName("or")) {
    left = Binary(ExprKind::kOr, line, std::move(left), ParseAnd());
    line = current().line;
  }
  return left;
}

ExprPtr Parser::ParseAnd() {
  int line = current().line;
  ExprPtr left = ParseNot();
  while (SkipName("and")) {
    left = Binary(ExprKind::kAnd, line, std::move(left), ParseNot());
    line = current().line;
  }
  return left;
}

ExprPtr Parser::ParseNot() {
  if (!current().IsName("not")) return ParseCompare();
  const Nesting nesting(this);
  const int line = Next().line;
  std::vector<ExprPtr> items;
  items.push_back(ParseNot());
  return NewExpr(ExprKind::kNot, line, std::move(items));
}

ExprPtr Parser::ParseCompare() {
  static const std::pair<std::string_view, CompareOperator> kSymbols[] = {
      {"==", CompareOperator::kEq}, {"!=", CompareOperator::kNe}, {"<", CompareOperator::kLt},
      {"<=", CompareOperator::kLe}, {">", CompareOperator::kGt},  {">=", CompareOperator::kGe}};
  const int line = current().line;
  std::vector<ExprPtr> items;
  std::vector<CompareOperator> operators;
  items.push_back(ParseSum());
  while (true) {
    const auto* symbol =
        std::find_if(std::begin(kSymbols), std::end(kSymbols),
                     [&](const auto& row) { return current().IsOperator(row.first); });
    if (symbol != std::end(kSymbols)) {
      Next();
      operators.push_back(symbol->second);
    } else if (SkipName("in")) {
      operators.push_back(CompareOperator::kIn);
    } else if (current().IsName("not") && ahead().IsName("in")) {
      at_ += 2;
      operators.push_back(CompareOperator::kNotIn);
    } else {
      break;
    }
    items.push_back(ParseSum());
  }
  if (operators.empty()) return std::move(items[0]);
  ExprPtr expr = NewExpr(ExprKind::kCompare, line, std::move(items));
  expr->operators = std::move(operators);
  return expr;
}

ExprPtr Parser::ParseSum() {
  int line = current().line;
  ExprPtr left = ParseConcat();
  while (current().IsOperator("+") || current().IsOperator("-")) {
    const ExprKind kind = Next().text == "+" ? ExprKind::kAdd : ExprKind::kSubtract;
    left = Binary(kind, line, std::move(left), ParseConcat());
    line = current().line;
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  const int line = current().line;
  std::vector<ExprPtr> items;
  items.push_back(ParseProduct());
  while (SkipOperator("~")) items.push_back(ParseProduct());
  if (items.size() == 1) return std::move(items[0]);
  return NewExpr(ExprKind::kConcat, line, std::move(items));
}

ExprPtr Parser::ParseProduct() {
  int line = current().line;
  ExprPtr left = ParsePower();
  while (true) {
    ExprKind kind;
    if (current().IsOperator("*")) {
      kind = ExprKind::kMultiply;
    } else if (current().IsOperator("/")) {
      kind = ExprKind::kDivide;
    } else if (current().IsOperator("//")) {
      kind = ExprKind::kFloorDivide;
    } else if (current().IsOperator("%")) {
      kind = ExprKind::kModulo;
    } else {
      return left;
    }
    Next();
    left = Binary(kind, line, std::move(left), ParsePower());
    line = current().line;
  }
}

ExprPtr Parser::ParsePower() {
  int line = current().line;
  ExprPtr left = ParseUnary();
  while (SkipOperator("**")) {
    left = Binary(ExprKind::kPower, line, std::move(left), ParseUnary());
    line = current().line;
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filter) {
  const Nesting nesting(this);
  const int line = current().line;
  ExprPtr expr;
  if (current().IsOperator("-") || current().IsOperator("+")) {
    const ExprKind kind = Next().text == "-" ? ExprKind::kNegate : ExprKind::kPositive;
    std::vector<ExprPtr> items;
    items.push_back(ParseUnary(false));
    expr = NewExpr(kind, line, std::move(items));
  } else {
    expr = ParsePrimary();
  }
  expr = ParsePostfix(std::move(expr));
  return with_filter ? ParseFilterExpr(std::move(expr)) : std::move(expr);
}

}  // namespace shardline::jinja
