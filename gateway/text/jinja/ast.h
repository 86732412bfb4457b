// The parsed form of a template. It is immutable after parsing and shared by all renderings.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind {
  kData,         // template text: `constant`
  kConstant,     // a literal: `constant`
  kName,         // `name`, `slot`
  kNamespace,    // target `name.attribute`: `slot`, `name` (the attribute)
  kList,         // `items`
  kTuple,        // `items`
  kDict,         // `items`: key, value, key, value, …
  kConditional,  // items: then, condition, else (may be null)
  kAnd,
  kOr,
  kNot,
  kNegate,
  kPositive,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kConcat,     // a ~ b ~ c: `items`
  kCompare,    // `items`: n + 1 operands, `operators`: n
  kAttribute,  // items[0].name
  kItem,       // items[0][items[1]]
  kSlice,      // items[0][items[1]:items[2]:items[3]], each bound may be null
  kCall,       // items[0](`arguments`)
  kFilter,     // items[0] | name(`arguments`); items[0] is null for the text of a block
  kTest,       // items[0] is name(`arguments`)
};

enum class CompareOperator { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct ArgumentExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr more_positional;  // *expr
  ExprPtr more_keyword;     // **expr
};

struct Expr {
  ExprKind kind;
  int line = 0;
  int depth = 1;  // of this tree
  int slot = -1;  // of a name: its number; of a constant: its index
  std::string name;
  std::vector<ExprPtr> items;
  std::vector<CompareOperator> operators;
  ArgumentExprs arguments;
  const Native* native =
      nullptr;  // of a filter or test; null: unknown, an error when it is reached
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

enum class StmtKind {
  kOutput,      // exprs
  kFor,         // target in exprs[0] if exprs[1] (may be null): body, else_body
  kIf,          // exprs[i] → branches[i]; else_body
  kSet,         // target = exprs[0]
  kSetBlock,    // target = body, through the filters exprs[0] (may be null)
  kMacro,       // macro
  kCall,        // exprs[0] is the call, macro is the caller
  kFilter,      // body through exprs[0]
  kWith,        // targets[i] = exprs[i]: body
  kBlock,       // name, body
  kAutoescape,  // exprs[0], body
  kGeneration,  // macro
  kLoad,        // include, import, from, extends: fails when it is reached
  kBreak,
  kContinue,
};

struct MacroNode {
  std::string name;                                     // empty: the body of a call block
  int slot = -1;                                        // of the name
  std::vector<std::pair<int, std::string>> parameters;  // slot, name
  std::vector<ExprPtr> defaults;                        // of the last parameters
  Body body;
  std::vector<int> unset;  // see symbols.h
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  bool explicit_caller = false;  // `caller` is among the parameters
};

struct Stmt {
  StmtKind kind;
  int line = 0;
  std::vector<ExprPtr> exprs;
  std::vector<ExprPtr> targets;
  Body body;
  Body else_body;
  std::vector<Body> branches;
  std::unique_ptr<MacroNode> macro;
  std::vector<int> unset, unset_else;  // of the scopes of body and else_body: see symbols.h
  std::string name;
  bool recursive = false;  // of a loop
  bool uses_loop = false;  // its body mentions `loop`
  bool scoped = false;     // of a block
  bool required = false;
};

using Constant = std::variant<std::monostate, bool, Int, double, std::string>;

struct TemplateTree {
  Body body;
  std::vector<int> unset;          // see symbols.h
  std::vector<std::string> names;  // slot → name
  std::vector<Constant> constants;
  std::map<std::string, const Stmt*, std::less<>> blocks;
  // Slots of the names with a meaning of their own.
  int loop_slot = 0, caller_slot = 0, kwargs_slot = 0, varargs_slot = 0, self_slot = 0,
      super_slot = 0;
};

}  // namespace shardline::jinja
