#include "gateway/text/jinja/symbols.h"

#include <set>

namespace shardline::jinja {

namespace {

// What one scope does to names, in the order of its statements.
class Symbols {
 public:
  Symbols(const TemplateTree& tree, const Symbols* parent) : tree_(tree), parent_(parent) {}

  void Parameter(int slot) {
    Store(slot);
    unset_.erase(slot);
  }

  void Parameters(const Expr& target) {
    if (target.kind == ExprKind::kName) Parameter(target.slot);
    if (target.kind == ExprKind::kTuple) {
      for (const ExprPtr& item : target.items) Parameters(*item);
    }
  }

  void Load(const ExprPtr& expr) {
    if (!expr) return;
    if ((expr->kind == ExprKind::kName || expr->kind == ExprKind::kNamespace) &&
        !Knows(expr->slot)) {
      known_.insert(expr->slot);
    }
    for (const ExprPtr& item : expr->items) Load(item);
    for (const ExprPtr& argument : expr->arguments.positional) Load(argument);
    for (const auto& [name, argument] : expr->arguments.keyword) Load(argument);
    Load(expr->arguments.more_positional);
    Load(expr->arguments.more_keyword);
  }

  void Visit(const Body& body) {
    for (const auto& stmt : body) Visit(*stmt);
  }

  // The scopes within this one; only once it has been visited wholly.
  void Descend(Body& body) const {
    for (const auto& stmt : body) Descend(*stmt);
  }

  std::vector<int> Unset() const { return {unset_.begin(), unset_.end()}; }

 private:
  bool Knows(int slot) const {
    for (const Symbols* scope = this; scope != nullptr; scope = scope->parent_) {
      if (scope->known_.contains(slot)) return true;
    }
    return false;
  }

  void Store(int slot) {
    if (stored_.insert(slot).second) store_order_.push_back(slot);
    if (known_.contains(slot)) return;
    if (parent_ == nullptr || !parent_->Knows(slot)) unset_.insert(slot);
    known_.insert(slot);
  }

  void StoreTarget(const Expr& target) {
    if (target.kind == ExprKind::kName) Store(target.slot);
    if (target.kind == ExprKind::kNamespace && !Knows(target.slot)) known_.insert(target.slot);
    if (target.kind == ExprKind::kTuple) {
      for (const ExprPtr& item : target.items) StoreTarget(*item);
    }
  }

  void Visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kIf: {
        // What only some branches set may still come from outside.
        const size_t before = store_order_.size();
        for (size_t i = 0; i < stmt.exprs.size(); ++i) {
          Load(stmt.exprs[i]);
          Visit(stmt.branches[i]);
        }
        Visit(stmt.else_body);
        for (size_t i = before; i < store_order_.size(); ++i) unset_.erase(store_order_[i]);
        return;
      }
      case StmtKind::kFor:
        return Load(stmt.exprs[0]);
      case StmtKind::kMacro:
        return Store(stmt.macro->slot);
      case StmtKind::kSetBlock:
        return StoreTarget(*stmt.targets[0]);
      case StmtKind::kSet:
        Load(stmt.exprs[0]);
        return StoreTarget(*stmt.targets[0]);
      case StmtKind::kOutput:
      case StmtKind::kCall:
      case StmtKind::kFilter:
      case StmtKind::kWith:
        for (const ExprPtr& expr : stmt.exprs) Load(expr);
        return;
      default:
        return;
    }
  }

  std::vector<int> Inner(const Symbols& scope, Body& body) const {
    scope.Descend(body);
    return scope.Unset();
  }

  void DescendMacro(MacroNode& macro) const {
    Symbols inner(tree_, this);
    for (const auto& [slot, name] : macro.parameters) inner.Parameter(slot);
    if (macro.uses_caller) inner.Parameter(tree_.caller_slot);
    if (macro.uses_kwargs) inner.Parameter(tree_.kwargs_slot);
    if (macro.uses_varargs) inner.Parameter(tree_.varargs_slot);
    for (const ExprPtr& expr : macro.defaults) inner.Load(expr);
    inner.Visit(macro.body);
    macro.unset = Inner(inner, macro.body);
  }

  void Descend(Stmt& stmt) const {
    switch (stmt.kind) {
      case StmtKind::kIf:
        for (Body& branch : stmt.branches) Descend(branch);
        return Descend(stmt.else_body);
      case StmtKind::kFor: {
        Symbols inner(tree_, this);
        if (stmt.uses_loop) inner.Parameter(tree_.loop_slot);
        inner.Parameters(*stmt.targets[0]);
        inner.Visit(stmt.body);
        stmt.unset = Inner(inner, stmt.body);
        Symbols otherwise(tree_, this);
        otherwise.Visit(stmt.else_body);
        stmt.unset_else = Inner(otherwise, stmt.else_body);
        return;
      }
      case StmtKind::kMacro:
      case StmtKind::kCall:
      case StmtKind::kGeneration:
        return DescendMacro(*stmt.macro);
      case StmtKind::kSetBlock:
      case StmtKind::kFilter:
      case StmtKind::kWith:
      case StmtKind::kAutoescape: {
        Symbols inner(tree_, this);
        if (stmt.kind == StmtKind::kWith) {
          for (const ExprPtr& target : stmt.targets) inner.Parameters(*target);
        }
        if (stmt.kind == StmtKind::kAutoescape) inner.Load(stmt.exprs[0]);
        inner.Visit(stmt.body);
        stmt.unset = Inner(inner, stmt.body);
        return;
      }
      case StmtKind::kBlock: {
        Symbols inner(tree_, nullptr);
        inner.Parameter(tree_.self_slot);
        inner.Parameter(tree_.super_slot);
        inner.Visit(stmt.body);
        stmt.unset = Inner(inner, stmt.body);
        return;
      }
      default:
        return;
    }
  }

  const TemplateTree& tree_;
  const Symbols* const parent_;
  std::set<int> known_;
  std::set<int> stored_;
  std::vector<int> store_order_;
  std::set<int> unset_;
};

}  // namespace

void FindUnsetNames(TemplateTree* tree) {
  Symbols symbols(*tree, nullptr);
  symbols.Visit(tree->body);
  symbols.Descend(tree->body);
  tree->unset = symbols.Unset();
}

}  // namespace shardline::jinja
