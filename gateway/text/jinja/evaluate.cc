// Expressions.
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/interpreter_state.h"
#include "gateway/text/jinja/python.h"

namespace shardline::jinja {

const Value& Interpreter::ConstantAt(int index) {
  const auto at = static_cast<size_t>(index);
  if (!constant_made_[at]) {
    constant_made_[at] = true;
    const Constant& constant = tree_.constants[at];
    if (const auto* flag = std::get_if<bool>(&constant)) constants_[at] = Value(*flag);
    if (const auto* integer = std::get_if<Int>(&constant)) constants_[at] = Value(*integer);
    if (const auto* number = std::get_if<double>(&constant)) constants_[at] = Value(*number);
    if (const auto* text = std::get_if<std::string>(&constant)) constants_[at] = Value(*text);
  }
  return constants_[at];
}

Value Interpreter::EvaluateName(int slot) {
  if (const Value* value = scope_->Find(slot)) return *value;
  if (const Value* value = Context(slot)) return *value;
  return MakeUndefined(Cat(ReprText(tree_.names[static_cast<size_t>(slot)]), " is undefined"));
}

bool Interpreter::Test(const Expr& expr) { return Truth(Evaluate(expr)); }

std::vector<Value> Interpreter::EvaluateAll(const std::vector<ExprPtr>& exprs) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) values.push_back(Evaluate(*expr));
  return values;
}

Value Interpreter::Evaluate(const Expr& expr) {
  Step();
  CheckStack();
  const auto operand = [&](size_t i) { return Evaluate(*expr.items[i]); };
  switch (expr.kind) {
    case ExprKind::kData:
    case ExprKind::kConstant:
      return ConstantAt(expr.slot);
    case ExprKind::kName:
    case ExprKind::kNamespace:
      return EvaluateName(expr.slot);
    case ExprKind::kList:
      return MakeList(EvaluateAll(expr.items));
    case ExprKind::kTuple:
      return MakeTuple(EvaluateAll(expr.items));
    case ExprKind::kDict:
      return EvaluateDict(expr);
    case ExprKind::kConditional:
      if (Test(*expr.items[1])) return operand(0);
      if (expr.items[2]) return operand(2);
      return MakeUndefined(Cat("the inline if-expression on line ", expr.line,
                               " evaluated to false and no else section was defined."));
    case ExprKind::kAnd: {
      Value left = operand(0);
      return Truth(left) ? operand(1) : left;
    }
    case ExprKind::kOr: {
      Value left = operand(0);
      return Truth(left) ? left : operand(1);
    }
    case ExprKind::kNot:
      return Value(!Test(*expr.items[0]));
    case ExprKind::kNegate:
      return Negate(operand(0));
    case ExprKind::kPositive:
      return Positive(operand(0));
    case ExprKind::kConcat:
      return EvaluateConcat(expr);
    case ExprKind::kCompare:
      return EvaluateCompare(expr);
    case ExprKind::kAttribute: {
      const Value object = operand(0);
      line_ = expr.line;
      return GetAttribute(*this, object, expr.name);
    }
    case ExprKind::kItem: {
      const Value object = operand(0);
      const Value key = operand(1);
      line_ = expr.line;
      return GetItem(*this, object, key);
    }
    case ExprKind::kSlice: {
      const auto bound = [&](size_t i) { return expr.items[i] ? operand(i) : Value(); };
      const Value object = operand(0);
      const Value start = bound(1), stop = bound(2), step = bound(3);
      line_ = expr.line;
      return Slice(object, start, stop, step);
    }
    case ExprKind::kCall:
      return EvaluateCall(expr, nullptr);
    case ExprKind::kFilter:
      return EvaluateFilter(expr, nullptr);
    case ExprKind::kTest:
      return EvaluateTest(expr);
    default:
      break;
  }
  const Value left = operand(0);
  const Value right = operand(1);
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kAdd:
      return Add(left, right);
    case ExprKind::kSubtract:
      return Subtract(left, right);
    case ExprKind::kMultiply:
      return Multiply(left, right);
    case ExprKind::kDivide:
      return Divide(left, right);
    case ExprKind::kFloorDivide:
      return FloorDivide(left, right);
    case ExprKind::kModulo:
      return Modulo(left, right);
    default:
      return Power(left, right);
  }
}

Value Interpreter::EvaluateDict(const Expr& expr) {
  auto dict = Make<DictObject>();
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    const Value key = Evaluate(*expr.items[i]);
    dict->Set(key, Evaluate(*expr.items[i + 1]));
  }
  return MakeDict(std::move(dict));
}

Value Interpreter::EvaluateConcat(const Expr& expr) {
  const std::vector<Value> parts = EvaluateAll(expr.items);
  bool markup = false;
  if (autoescape_) {
    for (const Value& part : parts) markup = markup || (part.is_string() && part.string().markup);
  }
  TextBuilder builder;
  for (const Value& part : parts) {
    if (markup) {
      builder.Append(EscapeHtml(ToStr(part, true)));
    } else {
      AppendStr(part, &builder);
    }
  }
  return builder.Build(markup);
}

Value Interpreter::EvaluateCompare(const Expr& expr) {
  Value left = Evaluate(*expr.items[0]);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = Evaluate(*expr.items[i + 1]);
    line_ = expr.line;
    bool holds = false;
    switch (expr.operators[i]) {
      case CompareOperator::kEq:
        holds = Equal(left, right);
        break;
      case CompareOperator::kNe:
        holds = !Equal(left, right);
        break;
      case CompareOperator::kLt:
        holds = Compare(left, Order::kLess, right);
        break;
      case CompareOperator::kLe:
        holds = Compare(left, Order::kLessEqual, right);
        break;
      case CompareOperator::kGt:
        holds = Compare(left, Order::kGreater, right);
        break;
      case CompareOperator::kGe:
        holds = Compare(left, Order::kGreaterEqual, right);
        break;
      case CompareOperator::kIn:
        holds = Contains(right, left);
        break;
      case CompareOperator::kNotIn:
        holds = !Contains(right, left);
        break;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Arguments Interpreter::EvaluateArguments(const ArgumentExprs& exprs, Arguments arguments,
                                         const Value* caller) {
  for (const ExprPtr& expr : exprs.positional) arguments.positional.push_back(Evaluate(*expr));
  for (const auto& [name, expr] : exprs.keyword) {
    arguments.keyword.emplace_back(name, Evaluate(*expr));
  }
  if (caller != nullptr) arguments.keyword.emplace_back("caller", *caller);
  if (exprs.more_positional) {
    for (Value& value : Collect(Evaluate(*exprs.more_positional))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (exprs.more_keyword) {
    const Value more = Evaluate(*exprs.more_keyword);
    if (!more.is(Kind::kDict)) {
      TypeError("argument after ** must be a mapping, not ", TypeName(more));
    }
    for (const auto& [key, value] : more.dict().items) {
      if (!key.is_string()) TypeError("keywords must be strings");
      for (const auto& [name, other] : arguments.keyword) {
        if (name == key.text()) TypeError("got multiple values for keyword argument '", name, "'");
      }
      arguments.keyword.emplace_back(std::string(key.text()), value);
    }
  }
  return arguments;
}

Value Interpreter::EvaluateCall(const Expr& expr, const Value* caller) {
  const Value callee = Evaluate(*expr.items[0]);
  Arguments arguments = EvaluateArguments(expr.arguments, {}, caller);
  line_ = expr.line;
  return Call(callee, std::move(arguments));
}

Value Interpreter::EvaluateFilter(const Expr& expr, const Value* text) {
  Arguments arguments;
  if (expr.items[0]) {
    // Within the filters of a block, the innermost one takes the block's text.
    arguments.positional.push_back(expr.items[0]->kind == ExprKind::kFilter && text != nullptr
                                       ? EvaluateFilter(*expr.items[0], text)
                                       : Evaluate(*expr.items[0]));
  } else {
    arguments.positional.push_back(*text);
  }
  arguments = EvaluateArguments(expr.arguments, std::move(arguments));
  line_ = expr.line;
  if (expr.native == nullptr) RuntimeError("No filter named ", ReprText(expr.name), " found.");
  return CallNative(*expr.native, Value(), std::move(arguments));
}

Value Interpreter::EvaluateTest(const Expr& expr) {
  Arguments arguments;
  arguments.positional.push_back(Evaluate(*expr.items[0]));
  arguments = EvaluateArguments(expr.arguments, std::move(arguments));
  line_ = expr.line;
  if (expr.native == nullptr) RuntimeError("No test named ", ReprText(expr.name), " found.");
  return CallNative(*expr.native, Value(), std::move(arguments));
}

}  // namespace shardline::jinja
