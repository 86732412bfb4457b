// Walks a parsed template and writes its text. One object renders once, on one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/text/jinja/ast.h"
#include "gateway/text/jinja/loop.h"
#include "gateway/text/jinja/macro.h"
#include "gateway/text/jinja/options.h"
#include "gateway/text/jinja/scope.h"
#include "gateway/text/jinja/text.h"
#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

class Interpreter {
 public:
  Interpreter(const TemplateTree& tree, const nlohmann::ordered_json& variables,
              const RenderOptions& options);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Renders the whole template; throws Error.
  void Run(TextBuilder* out);

  // The line that was being evaluated when an error was thrown.
  int line() const { return line_; }

  // What the native functions need.
  Value Call(const Value& callee, Arguments arguments);
  Value CallNative(const Native& native, const Value& self, Arguments arguments);
  Value ApplyFilter(const std::string& name, const Value& value, Arguments arguments);
  bool ApplyTest(const std::string& name, const Value& value, Arguments arguments);
  Value NewNamespace(Ref<DictObject> attributes);
  std::optional<Value> BlockNamed(std::string_view name);
  bool autoescape() const { return autoescape_; }
  const RenderOptions& options() const { return options_; }

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  using ScopeRef = Ref<Scope>;

  // Statements (interpreter.cc).
  Flow Execute(const Body& body);
  Flow Execute(const Stmt& stmt);
  void ExecuteOutput(const Stmt& stmt);
  Flow ExecuteFor(const Stmt& stmt, const Value& iterable, int64_t depth);
  Flow ExecuteIf(const Stmt& stmt);
  Flow ExecuteSetBlock(const Stmt& stmt);
  Flow ExecuteFilterBlock(const Stmt& stmt);
  void ExecuteWith(const Stmt& stmt);
  void ExecuteCallBlock(const Stmt& stmt);
  void ExecuteBlock(const Stmt& stmt, const ScopeRef& scope);
  Flow ExecuteInner(const Body& body, const std::vector<int>& unset);  // in a scope of its own
  ScopeRef NewScope(const ScopeRef& outer, const std::vector<int>& unset) const;
  void Assign(const Expr& target, const Value& value);
  void CheckNamespaces(const Expr& target);
  Value FilteredIterable(const Stmt& stmt, const Value& iterable);

  // Expressions (evaluate.cc).
  Value Evaluate(const Expr& expr);
  Value EvaluateName(int slot);
  Value EvaluateCompare(const Expr& expr);
  Value EvaluateCall(const Expr& expr, const Value* caller);
  Value EvaluateFilter(const Expr& expr, const Value* text);
  Value EvaluateTest(const Expr& expr);
  Value EvaluateConcat(const Expr& expr);
  Value EvaluateDict(const Expr& expr);
  std::vector<Value> EvaluateAll(const std::vector<ExprPtr>& exprs);
  Arguments EvaluateArguments(const ArgumentExprs& exprs, Arguments arguments,
                              const Value* caller = nullptr);
  bool Test(const Expr& expr);  // truth of a condition
  const Value& ConstantAt(int index);
  const Value* Context(int slot);  // a render variable or a global function

  // Calls (calls.cc).
  Value MakeMacro(const MacroNode& node, const std::string& name);
  Value CallMacro(const MacroObject& macro, Arguments arguments);
  Value CallLoop(const LoopObject& loop, const Value& iterable);
  Value Capture(const Body& body, Flow* flow);  // the text that a body writes

  class InScope;    // makes a scope the current one for a while
  class Recursion;  // counts calls within calls

  const TemplateTree& tree_;
  const nlohmann::ordered_json& variables_;
  const RenderOptions& options_;
  std::vector<Value> constants_;
  std::vector<bool> constant_made_;
  struct ContextSlot {
    bool looked_up = false;
    bool found = false;
    Value value;
  };
  std::vector<ContextSlot> context_;
  ScopeRef template_scope_;
  ScopeRef scope_;
  TextBuilder* out_ = nullptr;
  bool autoescape_ = false;
  int line_ = 1;
  int calls_ = 0;
  std::vector<ScopeRef> captured_;                // kept for the macros that refer to them
  std::vector<Ref<NamespaceObject>> namespaces_;  // cleared at the end: they may hold each other
  friend class InScope;
};

}  // namespace shardline::jinja
