// The parser's class, shared by its files: statements (parser.cc), operators (parser_operators.cc)
// and what they work on (parser_expressions.cc).
#pragma once

#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

#include "gateway/text/jinja/ast.h"
#include "gateway/text/jinja/lexer.h"

namespace shardline::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens);
  TemplateTree Parse();

 private:
  using Names = std::initializer_list<std::string_view>;

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token Next();
  bool SkipOperator(std::string_view symbol);
  bool SkipName(std::string_view name);
  void ExpectOperator(std::string_view symbol);
  void ExpectType(TokenType type);
  std::string ExpectName();
  [[noreturn]] void Fail(std::string message, int line = 0) const;
  [[noreturn]] void FailExpected(std::string_view expected) const;
  [[noreturn]] void FailUnknownTag(const std::string& name) const;

  int Slot(const std::string& name);
  int ConstantIndex(Constant constant);

  // Counts how deep the parser itself is; fails before the stack is in danger.
  class Nesting {
   public:
    explicit Nesting(Parser* parser);
    ~Nesting() { --parser_->nesting_; }

   private:
    Parser* parser_;
  };

  // Statements (parser.cc).
  Body ParseBody(Names end_tags);        // up to one of the end tags, which stays current
  Body ParseStatements(Names end_tags);  // after the start tag: "%}" and the body
  std::unique_ptr<Stmt> ParseStatement();
  std::unique_ptr<Stmt> ParseFor();
  std::unique_ptr<Stmt> ParseIf();
  std::unique_ptr<Stmt> ParseSet();
  std::unique_ptr<Stmt> ParseMacro();
  std::unique_ptr<Stmt> ParseCallBlock();
  std::unique_ptr<Stmt> ParseFilterBlock();
  std::unique_ptr<Stmt> ParseWith();
  std::unique_ptr<Stmt> ParseBlock();
  std::unique_ptr<Stmt> ParseAutoescape();
  std::unique_ptr<Stmt> ParseGeneration();
  std::unique_ptr<Stmt> ParsePrint();
  std::unique_ptr<Stmt> ParseLoad();
  std::unique_ptr<Stmt> ParseLoopControl();
  void ParseSignature(MacroNode* macro);
  void FinishMacro(MacroNode* macro, int line);
  std::unique_ptr<Stmt> NewStmt(StmtKind kind, int line) const;

  // Expressions (parser_operators.cc down to ParseUnary, parser_expressions.cc).
  ExprPtr ParseExpression(bool with_condition = true);
  ExprPtr ParseCondition();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter = true);
  ExprPtr ParsePrimary(bool with_namespace = false);
  ExprPtr ParsePostfix(ExprPtr expr);
  ExprPtr ParseFilterExpr(ExprPtr expr);
  ExprPtr ParseSubscript(ExprPtr expr);
  ExprPtr ParseSubscribed();
  ExprPtr ParseFilter(ExprPtr expr, bool inline_start = false);
  ExprPtr ParseTest(ExprPtr expr);
  ExprPtr ParseListLiteral();
  ExprPtr ParseDictLiteral();
  ArgumentExprs ParseArguments();
  enum class TupleMode { kFull, kNoCondition, kTarget, kTargetWithNamespace, kParenthesised };
  ExprPtr ParseTuple(TupleMode mode, std::string_view end_name = "");
  ExprPtr ParseTarget(bool with_namespace, std::string_view end_name = "");
  int ParseTargetName(std::string* name);  // one plain name; its slot
  void CheckTarget(const Expr& target);

  ExprPtr NewExpr(ExprKind kind, int line, std::vector<ExprPtr> items = {}) const;
  ExprPtr NewConstant(Constant constant, int line);
  ExprPtr Binary(ExprKind kind, int line, ExprPtr left, ExprPtr right) const;
  void SetDepth(Expr* expr) const;

  std::vector<Token> tokens_;
  size_t at_ = 0;
  TemplateTree tree_;
  std::unordered_map<std::string, int> slots_;
  std::vector<std::vector<std::string>> expected_tags_;  // what open bodies wait for
  std::vector<std::string> open_tags_;
  int nesting_ = 0;
  int loops_ = 0;        // loops around that break and continue can leave
  int loop_stores_ = 0;  // assignments to the name `loop` so far
  bool soft_ = false;    // inside an if: an unknown filter fails only when it is reached
  struct Unknown {
    std::string message;
    int line;
  };
  std::vector<Unknown> unknown_;  // filters and tests that do not exist
};

}  // namespace shardline::jinja
