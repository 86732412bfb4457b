// The statement half of the parser.
#include "gateway/text/jinja/parser.h"

#include <algorithm>
#include <set>

#include "gateway/text/jinja/parser_state.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/symbols.h"
#include "gateway/text/jinja/undeclared.h"

namespace shardline::jinja {

namespace {

constexpr int kMaxNesting = 400;         // of the parser's own recursion
constexpr int kMaxStatementDepth = 100;  // blocks in blocks

std::string Quoted(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += " or ";
    out += Cat("'", name, "'");
  }
  return out;
}

// Sets a variable for the lifetime of the object.
template <typename T>
class Temporarily {
 public:
  Temporarily(T* variable, T value) : variable_(variable), before_(*variable) {
    *variable_ = value;
  }
  ~Temporarily() { *variable_ = before_; }

 private:
  T* variable_;
  T before_;
};

}  // namespace

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  tree_.loop_slot = Slot("loop");
  tree_.caller_slot = Slot("caller");
  tree_.kwargs_slot = Slot("kwargs");
  tree_.varargs_slot = Slot("varargs");
  tree_.self_slot = Slot("self");
  tree_.super_slot = Slot("super");
}

TemplateTree Parser::Parse() {
  tree_.body = ParseBody({});
  if (!unknown_.empty()) Fail(unknown_[0].message, unknown_[0].line);
  FindUnsetNames(&tree_);
  return std::move(tree_);
}

Parser::Nesting::Nesting(Parser* parser) : parser_(parser) {
  if (++parser->nesting_ > kMaxNesting) parser->Fail("the template is nested too deeply");
}

Token Parser::Next() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::SkipOperator(std::string_view symbol) {
  if (!current().IsOperator(symbol)) return false;
  Next();
  return true;
}

bool Parser::SkipName(std::string_view name) {
  if (!current().IsName(name)) return false;
  Next();
  return true;
}

void Parser::FailExpected(std::string_view expected) const {
  if (current().type == TokenType::kEnd) {
    Fail(Cat("unexpected end of template, expected '", expected, "'."));
  }
  Fail(Cat("expected token '", expected, "', got ", ReprText(Describe(current()))));
}

void Parser::ExpectOperator(std::string_view symbol) {
  if (!SkipOperator(symbol)) FailExpected(symbol);
}

void Parser::ExpectType(TokenType type) {
  if (current().type != type) FailExpected(Describe(type));
  Next();
}

std::string Parser::ExpectName() {
  if (current().type != TokenType::kName) FailExpected("name");
  return Next().text;
}

void Parser::Fail(std::string message, int line) const {
  throw Error{ErrorKind::kSyntax, std::move(message), line > 0 ? line : current().line};
}

void Parser::FailUnknownTag(const std::string& name) const {
  std::string message = name.empty() ? "Unexpected end of template."
                                     : Cat("Encountered unknown tag ", ReprText(name), ".");
  if (!expected_tags_.empty()) {
    const bool misplaced =
        std::any_of(expected_tags_.begin(), expected_tags_.end(), [&](const auto& tags) {
          return !name.empty() && std::find(tags.begin(), tags.end(), name) != tags.end();
        });
    message += misplaced ? " You probably made a nesting mistake. Jinja is expecting this tag, but "
                           "currently looking for "
                         : " Jinja was looking for the following tags: ";
    message += Quoted(expected_tags_.back()) + ".";
  }
  if (!open_tags_.empty()) {
    message += Cat(" The innermost block that needs to be closed is '", open_tags_.back(), "'.");
  }
  Fail(std::move(message));
}

int Parser::Slot(const std::string& name) {
  const auto [it, added] = slots_.emplace(name, static_cast<int>(tree_.names.size()));
  if (added) tree_.names.push_back(name);
  return it->second;
}

int Parser::ConstantIndex(Constant constant) {
  tree_.constants.push_back(std::move(constant));
  return static_cast<int>(tree_.constants.size() - 1);
}

std::unique_ptr<Stmt> Parser::NewStmt(StmtKind kind, int line) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = line;
  return stmt;
}

Body Parser::ParseBody(Names end_tags) {
  Body body;
  std::unique_ptr<Stmt> output;
  const auto flush = [&] {
    if (output) body.push_back(std::move(output));
  };
  const auto add = [&](ExprPtr expr) {
    if (!output) output = NewStmt(StmtKind::kOutput, expr->line);
    output->exprs.push_back(std::move(expr));
  };
  const bool inner = end_tags.size() > 0;
  if (inner) expected_tags_.emplace_back(end_tags.begin(), end_tags.end());
  while (current().type != TokenType::kEnd) {
    if (current().type == TokenType::kData) {
      Token token = Next();
      ExprPtr data = NewConstant(std::move(token.text), token.line);
      data->kind = ExprKind::kData;
      add(std::move(data));
    } else if (current().type == TokenType::kVariableBegin) {
      Next();
      add(ParseTuple(TupleMode::kFull));
      ExpectType(TokenType::kVariableEnd);
    } else {
      flush();
      Next();
      const bool ends =
          current().type == TokenType::kName &&
          std::find(end_tags.begin(), end_tags.end(), current().text) != end_tags.end();
      if (ends) {
        expected_tags_.pop_back();
        return body;
      }
      body.push_back(ParseStatement());
      ExpectType(TokenType::kBlockEnd);
    }
  }
  flush();
  if (inner) FailUnknownTag("");
  return body;
}

Body Parser::ParseStatements(Names end_tags) {
  SkipOperator(":");
  ExpectType(TokenType::kBlockEnd);
  return ParseBody(end_tags);
}

std::unique_ptr<Stmt> Parser::ParseStatement() {
  if (current().type != TokenType::kName) Fail("tag name expected");
  if (open_tags_.size() >= kMaxStatementDepth) Fail("blocks are nested too deeply");
  static const std::pair<std::string_view, std::unique_ptr<Stmt> (Parser::*)()> kStatements[] = {
      {"for", &Parser::ParseFor},
      {"if", &Parser::ParseIf},
      {"set", &Parser::ParseSet},
      {"macro", &Parser::ParseMacro},
      {"call", &Parser::ParseCallBlock},
      {"filter", &Parser::ParseFilterBlock},
      {"with", &Parser::ParseWith},
      {"block", &Parser::ParseBlock},
      {"autoescape", &Parser::ParseAutoescape},
      {"generation", &Parser::ParseGeneration},
      {"print", &Parser::ParsePrint},
      {"include", &Parser::ParseLoad},
      {"import", &Parser::ParseLoad},
      {"from", &Parser::ParseLoad},
      {"extends", &Parser::ParseLoad},
      {"break", &Parser::ParseLoopControl},
      {"continue", &Parser::ParseLoopControl},
  };
  const std::string name = current().text;
  for (const auto& [tag, parse] : kStatements) {
    if (tag != name) continue;
    open_tags_.push_back(name);
    std::unique_ptr<Stmt> stmt = (this->*parse)();
    open_tags_.pop_back();
    return stmt;
  }
  FailUnknownTag(name);
}

std::unique_ptr<Stmt> Parser::ParseFor() {
  auto stmt = NewStmt(StmtKind::kFor, Next().line);
  const int stores_before = loop_stores_;
  stmt->targets.push_back(ParseTarget(false, "in"));
  if (!SkipName("in")) FailExpected("in");
  stmt->exprs.push_back(ParseTuple(TupleMode::kNoCondition, "recursive"));
  {
    const Temporarily soft(&soft_, false);
    stmt->exprs.push_back(SkipName("if") ? ParseExpression() : nullptr);
    stmt->recursive = SkipName("recursive");
    {
      const Temporarily loops(&loops_, loops_ + 1);
      stmt->body = ParseStatements({"endfor", "else"});
    }
    const Temporarily loops(&loops_, stmt->recursive ? 0 : loops_);
    if (Next().text == "else") {
      stmt->else_body = ParseStatements({"endfor"});
      Next();
    }
  }
  if (loop_stores_ > stores_before) {
    Fail("Can't assign to special loop variable in for-loop target", stmt->line);
  }
  stmt->uses_loop = stmt->recursive || MentionsFreely(stmt->body, {tree_.loop_slot})[0];
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseIf() {
  auto stmt = NewStmt(StmtKind::kIf, Next().line);
  const Temporarily soft(&soft_, true);
  while (true) {
    stmt->exprs.push_back(ParseTuple(TupleMode::kNoCondition));
    stmt->branches.push_back(ParseStatements({"elif", "else", "endif"}));
    const Token token = Next();
    if (token.text == "elif") continue;
    if (token.text == "else") {
      stmt->else_body = ParseStatements({"endif"});
      Next();
    }
    return stmt;
  }
}

std::unique_ptr<Stmt> Parser::ParseSet() {
  const int line = Next().line;
  ExprPtr target = ParseTarget(true);
  std::unique_ptr<Stmt> stmt;
  if (SkipOperator("=")) {
    stmt = NewStmt(StmtKind::kSet, line);
    stmt->exprs.push_back(ParseTuple(TupleMode::kFull));
  } else {
    stmt = NewStmt(StmtKind::kSetBlock, line);
    const Temporarily soft(&soft_, false);
    stmt->exprs.push_back(ParseFilter(nullptr));
    stmt->body = ParseStatements({"endset"});
    Next();
  }
  stmt->targets.push_back(std::move(target));
  return stmt;
}

void Parser::ParseSignature(MacroNode* macro) {
  ExpectOperator("(");
  while (!current().IsOperator(")")) {
    if (!macro->parameters.empty()) ExpectOperator(",");
    std::string name;
    const int slot = ParseTargetName(&name);
    for (const auto& [other, other_name] : macro->parameters) {
      if (other == slot) Fail(Cat("duplicate argument '", name, "' in macro definition"));
    }
    if (SkipOperator("=")) {
      macro->defaults.push_back(ParseExpression());
    } else if (!macro->defaults.empty()) {
      Fail("non-default argument follows default argument");
    }
    macro->parameters.emplace_back(slot, std::move(name));
  }
  ExpectOperator(")");
}

void Parser::FinishMacro(MacroNode* macro, int line) {
  const std::vector<bool> mentions =
      MentionsFreely(macro->body, {tree_.caller_slot, tree_.kwargs_slot, tree_.varargs_slot});
  const auto position = [&](int slot) {
    for (size_t i = 0; i < macro->parameters.size(); ++i) {
      if (macro->parameters[i].first == slot) return static_cast<int>(i);
    }
    return -1;
  };
  const int caller = position(tree_.caller_slot);
  macro->explicit_caller = caller >= 0;
  macro->uses_caller = mentions[0];
  const size_t required = macro->parameters.size() - macro->defaults.size();
  if (mentions[0] && caller >= 0 && static_cast<size_t>(caller) < required) {
    Fail(
        "When defining macros or call blocks the special \"caller\" argument must be omitted or be "
        "given a default.",
        line);
  }
  macro->uses_kwargs = mentions[1] && position(tree_.kwargs_slot) < 0;
  macro->uses_varargs = mentions[2] && position(tree_.varargs_slot) < 0;
}

std::unique_ptr<Stmt> Parser::ParseMacro() {
  auto stmt = NewStmt(StmtKind::kMacro, Next().line);
  stmt->macro = std::make_unique<MacroNode>();
  MacroNode& macro = *stmt->macro;
  const Temporarily soft(&soft_, false);
  const Temporarily loops(&loops_, 0);
  macro.slot = ParseTargetName(&macro.name);
  ParseSignature(&macro);
  macro.body = ParseStatements({"endmacro"});
  Next();
  FinishMacro(&macro, stmt->line);
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseCallBlock() {
  auto stmt = NewStmt(StmtKind::kCall, Next().line);
  stmt->macro = std::make_unique<MacroNode>();
  if (current().IsOperator("(")) ParseSignature(stmt->macro.get());
  stmt->exprs.push_back(ParseExpression());
  if (stmt->exprs[0]->kind != ExprKind::kCall) Fail("expected call", stmt->line);
  const Temporarily soft(&soft_, false);
  const Temporarily loops(&loops_, 0);
  stmt->macro->body = ParseStatements({"endcall"});
  Next();
  FinishMacro(stmt->macro.get(), stmt->line);
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseFilterBlock() {
  auto stmt = NewStmt(StmtKind::kFilter, Next().line);
  const Temporarily soft(&soft_, false);
  stmt->exprs.push_back(ParseFilter(nullptr, true));
  stmt->body = ParseStatements({"endfilter"});
  Next();
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseWith() {
  auto stmt = NewStmt(StmtKind::kWith, Next().line);
  const int stores_before = loop_stores_;
  while (current().type != TokenType::kBlockEnd && current().type != TokenType::kEnd) {
    if (!stmt->targets.empty()) ExpectOperator(",");
    stmt->targets.push_back(ParseTarget(false));
    ExpectOperator("=");
    stmt->exprs.push_back(ParseExpression());
  }
  loop_stores_ = stores_before;
  const Temporarily soft(&soft_, false);
  stmt->body = ParseStatements({"endwith"});
  Next();
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseBlock() {
  auto stmt = NewStmt(StmtKind::kBlock, Next().line);
  stmt->name = ExpectName();
  stmt->scoped = SkipName("scoped");
  stmt->required = SkipName("required");
  if (current().IsOperator("-")) {
    Fail(
        "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use "
        "an underscore instead.");
  }
  {
    const Temporarily soft(&soft_, false);
    const Temporarily loops(&loops_, 0);
    stmt->body = ParseStatements({"endblock"});
  }
  Next();
  SkipName(stmt->name);
  if (!tree_.blocks.emplace(stmt->name, stmt.get()).second) {
    Fail(Cat("block ", ReprText(stmt->name), " defined twice"), stmt->line);
  }
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseAutoescape() {
  auto stmt = NewStmt(StmtKind::kAutoescape, Next().line);
  stmt->exprs.push_back(ParseExpression());
  const Temporarily soft(&soft_, false);
  stmt->body = ParseStatements({"endautoescape"});
  Next();
  return stmt;
}

// The body is a macro of its own, called at once: what it sets stays inside.
std::unique_ptr<Stmt> Parser::ParseGeneration() {
  auto stmt = NewStmt(StmtKind::kGeneration, Next().line);
  stmt->macro = std::make_unique<MacroNode>();
  const Temporarily soft(&soft_, false);
  const Temporarily loops(&loops_, 0);
  stmt->macro->body = ParseStatements({"endgeneration"});
  Next();
  FinishMacro(stmt->macro.get(), stmt->line);
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParsePrint() {
  auto stmt = NewStmt(StmtKind::kOutput, Next().line);
  while (current().type != TokenType::kBlockEnd && current().type != TokenType::kEnd) {
    if (!stmt->exprs.empty()) ExpectOperator(",");
    stmt->exprs.push_back(ParseExpression());
  }
  return stmt;
}

// {% include %}, {% import %}, {% from %} and {% extends %}: the rest of the tag is read loosely,
// as reaching the statement is an error in any case.
std::unique_ptr<Stmt> Parser::ParseLoad() {
  const Token tag = Next();
  auto stmt = NewStmt(StmtKind::kLoad, tag.line);
  stmt->name = tag.text;
  ParseExpression();
  if (tag.text == "import") {
    if (!SkipName("as")) FailExpected("as");
    ExpectName();
  } else if (tag.text == "from") {
    if (!SkipName("import")) FailExpected("import");
    ExpectName();
  }
  while (current().type == TokenType::kName || current().IsOperator(",")) Next();
  return stmt;
}

std::unique_ptr<Stmt> Parser::ParseLoopControl() {
  const Token token = Next();
  if (loops_ == 0) {
    Fail(token.text == "break" ? "'break' outside loop" : "'continue' not properly in loop",
         token.line);
  }
  return NewStmt(token.text == "break" ? StmtKind::kBreak : StmtKind::kContinue, token.line);
}

TemplateTree ParseTemplate(std::string_view source) {
  constexpr size_t kMaxSource = size_t{4} << 20;
  if (source.size() > kMaxSource) {
    throw Error{ErrorKind::kLimit, Cat("the template is longer than ", kMaxSource, " bytes"), 1};
  }
  return Parser(Tokenize(source)).Parse();
}

}  // namespace shardline::jinja
