#include "gateway/text/jinja/undeclared.h"

#include <algorithm>
#include <set>

namespace shardline::jinja {

namespace {

class Finder {
 public:
  explicit Finder(const std::vector<int>& slots) : wanted_(slots.begin(), slots.end()) {}

  void Visit(const Body& body) {
    for (const auto& stmt : body) Visit(*stmt);
  }
  const std::set<int>& found() const { return found_; }

 private:
  void Load(const ExprPtr& expr) {
    if (!expr) return;
    if (expr->kind == ExprKind::kName && wanted_.contains(expr->slot)) found_.insert(expr->slot);
    for (const ExprPtr& item : expr->items) Load(item);
    for (const ExprPtr& argument : expr->arguments.positional) Load(argument);
    for (const auto& [name, argument] : expr->arguments.keyword) Load(argument);
    Load(expr->arguments.more_positional);
    Load(expr->arguments.more_keyword);
  }
  void Load(const std::vector<ExprPtr>& exprs) {
    for (const ExprPtr& expr : exprs) Load(expr);
  }
  void Store(const std::vector<ExprPtr>& targets) {
    for (const ExprPtr& target : targets) {
      if (target->kind == ExprKind::kName) wanted_.erase(target->slot);
      if (target->kind == ExprKind::kTuple) Store(target->items);
    }
  }
  void VisitMacro(const MacroNode& macro) {
    for (const auto& [slot, name] : macro.parameters) wanted_.erase(slot);
    Load(macro.defaults);
    Visit(macro.body);
  }

  // In the order in which Jinja visits a node's parts.
  void Visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kBlock:
        return;
      case StmtKind::kFor:
        Store(stmt.targets);
        Load(stmt.exprs[0]);
        Visit(stmt.body);
        Visit(stmt.else_body);
        Load(stmt.exprs[1]);
        return;
      case StmtKind::kIf:
        for (size_t i = 0; i < stmt.exprs.size(); ++i) {
          Load(stmt.exprs[i]);
          Visit(stmt.branches[i]);
        }
        Visit(stmt.else_body);
        return;
      case StmtKind::kMacro:
      case StmtKind::kGeneration:
        return VisitMacro(*stmt.macro);
      case StmtKind::kCall:
        Load(stmt.exprs);
        return VisitMacro(*stmt.macro);
      case StmtKind::kFilter:
        Visit(stmt.body);
        Load(stmt.exprs);
        return;
      default:
        Store(stmt.targets);
        Load(stmt.exprs);
        Visit(stmt.body);
    }
  }

  std::set<int> wanted_;
  std::set<int> found_;
};

}  // namespace

std::vector<bool> MentionsFreely(const Body& body, const std::vector<int>& slots) {
  Finder finder(slots);
  finder.Visit(body);
  std::vector<bool> mentioned;
  for (const int slot : slots) mentioned.push_back(finder.found().contains(slot));
  return mentioned;
}

}  // namespace shardline::jinja
