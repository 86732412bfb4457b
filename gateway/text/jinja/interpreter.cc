// Statements.
#include "gateway/text/jinja/interpreter.h"

#include "gateway/text/jinja/interpreter_state.h"
#include "gateway/text/jinja/json.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

Interpreter::Interpreter(const TemplateTree& tree, const nlohmann::ordered_json& variables,
                         const RenderOptions& options)
    : tree_(tree),
      variables_(variables),
      options_(options),
      constants_(tree.constants.size()),
      constant_made_(tree.constants.size()),
      context_(tree.names.size()) {}

// Values may refer to each other in circles only through namespaces and through the scopes that
// macros keep: emptying those first lets everything else go, without deep recursion.
Interpreter::~Interpreter() {
  std::vector<Value> released;
  for (const auto& space : namespaces_) {
    for (auto& [key, value] : space->attributes->items) released.push_back(std::move(value));
    space->attributes->items.clear();
  }
  for (const auto& scope : captured_) {
    for (auto& [slot, value] : scope->variables) released.push_back(std::move(value));
    scope->variables.clear();
  }
}

void Interpreter::Run(TextBuilder* out) {
  out_ = out;
  template_scope_ = scope_ = NewScope(ScopeRef(), tree_.unset);
  Execute(tree_.body);
}

Interpreter::Flow Interpreter::Execute(const Body& body) {
  for (const auto& stmt : body) {
    const Flow flow = Execute(*stmt);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::Execute(const Stmt& stmt) {
  Step();
  CheckStack();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kOutput:
      ExecuteOutput(stmt);
      break;
    case StmtKind::kFor:
      return ExecuteFor(stmt, Evaluate(*stmt.exprs[0]), 0);
    case StmtKind::kIf:
      return ExecuteIf(stmt);
    case StmtKind::kSet:
      CheckNamespaces(*stmt.targets[0]);
      Assign(*stmt.targets[0], Evaluate(*stmt.exprs[0]));
      break;
    case StmtKind::kSetBlock:
      return ExecuteSetBlock(stmt);
    case StmtKind::kMacro:
      scope_->Set(stmt.macro->slot, MakeMacro(*stmt.macro, stmt.macro->name));
      break;
    case StmtKind::kCall:
      ExecuteCallBlock(stmt);
      break;
    case StmtKind::kFilter:
      return ExecuteFilterBlock(stmt);
    case StmtKind::kWith: {
      std::vector<Value> values = EvaluateAll(stmt.exprs);
      const InScope inner(this, NewScope(scope_, stmt.unset));
      for (size_t i = 0; i < values.size(); ++i) Assign(*stmt.targets[i], values[i]);
      return Execute(stmt.body);
    }
    case StmtKind::kBlock:
      if (stmt.required) RuntimeError("Required block ", ReprText(stmt.name), " not found");
      ExecuteBlock(stmt, stmt.scoped ? scope_ : template_scope_);
      break;
    case StmtKind::kAutoescape: {
      const bool before = autoescape_;
      autoescape_ = Truth(Evaluate(*stmt.exprs[0]));
      const Flow flow = ExecuteInner(stmt.body, stmt.unset);
      autoescape_ = before;
      return flow;
    }
    case StmtKind::kGeneration: {
      const Value body = MakeMacro(*stmt.macro, "");
      AppendStr(CallMacro(body.as<MacroObject>(), {}), out_);
      break;
    }
    case StmtKind::kLoad:
      RuntimeError("{% ", stmt.name, " %}: chat templates cannot load other templates");
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::ScopeRef Interpreter::NewScope(const ScopeRef& outer,
                                            const std::vector<int>& unset) const {
  auto scope = Make<Scope>(outer);
  Step(unset.size());
  for (const int slot : unset) {
    const Value value =
        MakeUndefined(Cat(ReprText(tree_.names[static_cast<size_t>(slot)]), " is undefined"));
    value.as<UndefinedObject>().unset = true;
    scope->Set(slot, value);
  }
  return scope;
}

Interpreter::Flow Interpreter::ExecuteInner(const Body& body, const std::vector<int>& unset) {
  const InScope inner(this, NewScope(scope_, unset));
  return Execute(body);
}

void Interpreter::ExecuteOutput(const Stmt& stmt) {
  for (const ExprPtr& expr : stmt.exprs) {
    if (expr->kind == ExprKind::kData) {
      out_->Append(std::get<std::string>(tree_.constants[static_cast<size_t>(expr->slot)]));
      continue;
    }
    line_ = expr->line;
    const Value value = Evaluate(*expr);
    if (autoescape_) {
      out_->Append(EscapeHtml(ToStr(value, true)));
    } else {
      AppendStr(value, out_);
    }
  }
}

Interpreter::Flow Interpreter::ExecuteIf(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (Test(*stmt.exprs[i])) return Execute(stmt.branches[i]);
  }
  return Execute(stmt.else_body);
}

// The items for which the loop's own condition holds. It is evaluated only when an item is asked
// for, as the body may change what it depends on.
Value Interpreter::FilteredIterable(const Stmt& stmt, const Value& iterable) {
  const Ref<IteratorObject> source = Iterate(iterable);
  const ScopeRef outer = scope_;
  return MakeGenerator(
      [this, &stmt, source, outer](Value* value) {
        while (source->Next(value)) {
          Step();
          const InScope inner(this, Make<Scope>(outer));
          Assign(*stmt.targets[0], *value);
          if (Test(*stmt.exprs[1])) return true;
        }
        return false;
      },
      {iterable});
}

Interpreter::Flow Interpreter::ExecuteFor(const Stmt& stmt, const Value& iterable, int64_t depth) {
  const ScopeRef outer = scope_;
  auto loop = Make<LoopObject>();
  loop->Charge(sizeof(LoopObject));
  loop->iterable = stmt.exprs[1] ? FilteredIterable(stmt, iterable) : iterable;
  loop->source = Iterate(loop->iterable);
  SetNesting(loop.get(), loop->source->nesting);
  loop->depth0 = depth;
  if (stmt.recursive) {
    loop->statement = &stmt;
    loop->scope = outer;
  }
  bool finished_one = false;
  Value item;
  while (loop->Advance(&item)) {
    Step();
    const InScope inner(this, NewScope(outer, stmt.unset));
    if (stmt.uses_loop) scope_->Set(tree_.loop_slot, Value(Kind::kLoop, loop));
    Assign(*stmt.targets[0], item);
    const Flow flow = Execute(stmt.body);
    if (flow == Flow::kBreak) break;
    // Jinja runs the else block when no iteration reached its end, even after a continue or break.
    if (flow == Flow::kNormal) finished_one = true;
  }
  loop->last_changed.reset();
  if (finished_one || stmt.else_body.empty()) return Flow::kNormal;
  return ExecuteInner(stmt.else_body, stmt.unset_else);
}

Interpreter::Flow Interpreter::ExecuteSetBlock(const Stmt& stmt) {
  Flow flow = Flow::kNormal;
  Value text;
  {
    const InScope inner(this, NewScope(scope_, stmt.unset));
    text = Capture(stmt.body, &flow);
    if (flow != Flow::kNormal) return flow;
    if (stmt.exprs[0]) text = EvaluateFilter(*stmt.exprs[0], &text);
  }
  if (autoescape_) {
    const Value escaped = ToStr(text);
    text = MakeString(escaped.string().text, escaped.string().marks, true);
  }
  Assign(*stmt.targets[0], text);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::ExecuteFilterBlock(const Stmt& stmt) {
  const InScope inner(this, NewScope(scope_, stmt.unset));
  Flow flow = Flow::kNormal;
  const Value text = Capture(stmt.body, &flow);
  if (flow != Flow::kNormal) return flow;
  const Value filtered = EvaluateFilter(*stmt.exprs[0], &text);
  if (!filtered.is_string()) {
    TypeError("sequence item: expected str instance, ", TypeName(filtered), " found");
  }
  if (autoescape_) {
    out_->Append(EscapeHtml(ToStr(filtered, true)));
  } else {
    AppendStr(filtered, out_);
  }
  return Flow::kNormal;
}

void Interpreter::ExecuteCallBlock(const Stmt& stmt) {
  const Value caller = MakeMacro(*stmt.macro, "");
  const Value result = EvaluateCall(*stmt.exprs[0], &caller);
  if (autoescape_) {
    out_->Append(EscapeHtml(ToStr(result, true)));
  } else {
    AppendStr(result, out_);
  }
}

// A block sees the variables that are set where it stands (`scope`) as if they had been passed to
// the template, and none of the names that are still to be set there.
void Interpreter::ExecuteBlock(const Stmt& stmt, const ScopeRef& scope) {
  const Recursion recursion(this);
  auto context = Make<Scope>(ScopeRef());
  for (const Scope* outer = scope.get(); outer != nullptr; outer = outer->parent.get()) {
    Step(outer->variables.size());
    for (const auto& [slot, value] : outer->variables) {
      const bool unset = value.is_undefined() && value.as<UndefinedObject>().unset;
      if (!unset && context->Find(slot) == nullptr) context->Set(slot, value);
    }
  }
  const InScope inner(this, NewScope(context, stmt.unset));
  scope_->Set(tree_.super_slot,
              MakeUndefined(Cat("there is no parent block called ", ReprText(stmt.name), ".")));
  const bool before = std::exchange(autoescape_, false);
  Execute(stmt.body);
  autoescape_ = before;
}

void Interpreter::CheckNamespaces(const Expr& target) {
  if (target.kind == ExprKind::kTuple) {
    for (const ExprPtr& item : target.items) CheckNamespaces(*item);
  } else if (target.kind == ExprKind::kNamespace &&
             !EvaluateName(target.slot).is(Kind::kNamespace)) {
    RuntimeError("cannot assign attribute on non-namespace object");
  }
}

void Interpreter::Assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) {
    scope_->Set(target.slot, value);
    return;
  }
  if (target.kind == ExprKind::kNamespace) {
    // A set block's target, or one that an earlier target of the same tuple has set anew.
    CheckNamespaces(target);
    auto& attributes = *EvaluateName(target.slot).as<NamespaceObject>().attributes;
    attributes.Set(Value(target.name), value);
    attributes.Charge(sizeof(Value));
    return;
  }
  const size_t expected = target.items.size();
  switch (value.kind()) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      TypeError("cannot unpack non-iterable ", TypeName(value), " object");
    default:
      break;
  }
  std::vector<Value> items;
  const Ref<IteratorObject> iterator = Iterate(value);
  Value item;
  while (iterator->Next(&item)) {
    if (items.size() == expected) ValueError("too many values to unpack (expected ", expected, ")");
    items.push_back(std::move(item));
  }
  if (items.size() < expected) {
    ValueError("not enough values to unpack (expected ", expected, ", got ", items.size(), ")");
  }
  for (size_t i = 0; i < expected; ++i) Assign(*target.items[i], items[i]);
}

const Value* Interpreter::Context(int slot) {
  ContextSlot& entry = context_[static_cast<size_t>(slot)];
  if (!entry.looked_up) {
    entry.looked_up = true;
    const std::string& name = tree_.names[static_cast<size_t>(slot)];
    if (slot == tree_.self_slot) {
      entry.found = true;
      entry.value = Value(Kind::kSelf, Make<Object>());
    } else if (const auto variable = variables_.find(name); variable != variables_.end()) {
      entry.found = true;
      entry.value = FromJson(*variable, name, options_);
    } else if (const Native* global = FindGlobal(name)) {
      auto function = Make<FunctionObject>();
      function->native = global;
      entry.found = true;
      entry.value = Value(Kind::kFunction, function);
    }
  }
  return entry.found ? &entry.value : nullptr;
}

}  // namespace shardline::jinja
