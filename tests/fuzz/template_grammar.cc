#include "tests/fuzz/template_grammar.h"

#include "shared/base/strings.h"

namespace shardline::fuzz {
namespace {

constexpr const char* kFilters[] = {"abs",
                                    "attr",
                                    "batch",
                                    "capitalize",
                                    "center",
                                    "count",
                                    "d",
                                    "default",
                                    "dictsort",
                                    "e",
                                    "escape",
                                    "first",
                                    "filesizeformat",
                                    "float",
                                    "forceescape",
                                    "format",
                                    "groupby",
                                    "indent",
                                    "int",
                                    "items",
                                    "join",
                                    "last",
                                    "length",
                                    "list",
                                    "lower",
                                    "map",
                                    "max",
                                    "min",
                                    "pprint",
                                    "random",
                                    "reject",
                                    "rejectattr",
                                    "replace",
                                    "reverse",
                                    "round",
                                    "safe",
                                    "select",
                                    "selectattr",
                                    "slice",
                                    "sort",
                                    "string",
                                    "sum",
                                    "striptags",
                                    "title",
                                    "tojson",
                                    "trim",
                                    "truncate",
                                    "unique",
                                    "upper",
                                    "urlencode",
                                    "urlize",
                                    "wordcount",
                                    "wordwrap",
                                    "xmlattr",
                                    "nope"};
constexpr const char* kTests[] = {
    "odd",    "even",    "divisibleby", "defined", "undefined",   "filter",   "test",
    "none",   "boolean", "false",       "true",    "integer",     "float",    "lower",
    "upper",  "string",  "mapping",     "number",  "sequence",    "iterable", "callable",
    "sameas", "escaped", "in",          "eq",      "ne",          "gt",       "ge",
    "lt",     "le",      "equalto",     "nope",    "greaterthan", "lessthan"};
constexpr const char* kMethods[] = {"capitalize", "casefold",     "center",
                                    "count",      "encode",       "endswith",
                                    "expandtabs", "find",         "format",
                                    "index",      "format_map",   "isalnum",
                                    "isalpha",    "isascii",      "isdecimal",
                                    "isdigit",    "islower",      "isidentifier",
                                    "isnumeric",  "isprintable",  "isspace",
                                    "istitle",    "isupper",      "join",
                                    "ljust",      "lower",        "lstrip",
                                    "maketrans",  "partition",    "replace",
                                    "rfind",      "removeprefix", "removesuffix",
                                    "rindex",     "rjust",        "rpartition",
                                    "rsplit",     "rstrip",       "split",
                                    "splitlines", "startswith",   "strip",
                                    "swapcase",   "title",        "translate",
                                    "upper",      "zfill",        "copy",
                                    "fromkeys",   "get",          "items",
                                    "keys",       "values",       "isdisjoint",
                                    "bit_length", "conjugate",    "bit_count",
                                    "is_integer", "cycle",        "changed",
                                    "next",       "reset",        "append",
                                    "update",     "pop",          "as_integer_ratio",
                                    "nope",       "__class__",    "_x"};
constexpr const char* kAttributes[] = {"name",
                                       "age",
                                       "tags",
                                       "b",
                                       "a.x",
                                       "role",
                                       "content",
                                       "real",
                                       "imag",
                                       "start",
                                       "stop",
                                       "step",
                                       "grouper",
                                       "list",
                                       "index",
                                       "index0",
                                       "first",
                                       "last",
                                       "length",
                                       "revindex",
                                       "revindex0",
                                       "depth",
                                       "depth0",
                                       "previtem",
                                       "nextitem",
                                       "current",
                                       "items",
                                       "pos",
                                       "sep",
                                       "used",
                                       "super",
                                       "arguments",
                                       "caller",
                                       "numerator",
                                       "denominator",
                                       "catch_kwargs",
                                       "catch_varargs",
                                       "explicit_caller",
                                       "x",
                                       "0",
                                       "__len__",
                                       "__iter__",
                                       "__init__",
                                       "__dict__"};
constexpr const char* kKeywords[] = {"width",
                                     "first",
                                     "blank",
                                     "default",
                                     "attribute",
                                     "reverse",
                                     "case_sensitive",
                                     "by",
                                     "indent",
                                     "sort_keys",
                                     "separators",
                                     "ensure_ascii",
                                     "start",
                                     "end",
                                     "leeway",
                                     "killwords",
                                     "fill_with",
                                     "precision",
                                     "method",
                                     "base",
                                     "trim_url_limit",
                                     "nofollow",
                                     "target",
                                     "rel",
                                     "extra_schemes",
                                     "autospace",
                                     "binary",
                                     "boolean",
                                     "default_value",
                                     "sep",
                                     "maxsplit",
                                     "keepends",
                                     "tabsize",
                                     "count",
                                     "old",
                                     "new",
                                     "chars",
                                     "wrapstring",
                                     "break_long_words",
                                     "break_on_hyphens",
                                     "x",
                                     "caller",
                                     "s",
                                     "name"};
constexpr const char* kGlobals[] = {"range",      "dict",         "namespace",    "cycler",
                                    "joiner",     "lipsum",       "strftime_now", "raise_exception",
                                    "m",          "loop",         "caller",       "self.b",
                                    "loop.cycle", "loop.changed", "c.next",       "j"};
constexpr const char* kNames[] = {
    "s",     "u",         "multi", "n",     "f",       "neg",    "big",    "huge", "t", "z",
    "e",     "l",         "ls",    "d",     "users",   "deep",   "mixed",  "zzz",  "x", "messages",
    "tools", "links",     "loop",  "self",  "varargs", "kwargs", "caller", "ns",   "c", "j",
    "m",     "documents", "zzz.y", "range", "s.upper", "d.get",  "message"};
constexpr const char* kLiterals[] = {"none",
                                     "true",
                                     "false",
                                     "0",
                                     "1",
                                     "2",
                                     "-1",
                                     "3",
                                     "-7",
                                     "10",
                                     "16",
                                     "100",
                                     "0.5",
                                     "2.5",
                                     "-0.0",
                                     "1e16",
                                     "1e308",
                                     "1e-7",
                                     "123456.789",
                                     "0x1F",
                                     "0b1",
                                     "0o7",
                                     "1_000",
                                     "9223372036854775807",
                                     "170141183460469231731687303715884105727",
                                     "(2 ** 126)",
                                     "(1e308 * 10)",
                                     "(1e400 - 1e400)",
                                     "''",
                                     "'a'",
                                     "'ab cd'",
                                     "'x,y'",
                                     "' \\t\\n '",
                                     "'name'",
                                     "'age'",
                                     "'upper'",
                                     "'odd'",
                                     "'value'",
                                     "'ceil'",
                                     "'floor'",
                                     "'-'",
                                     "'*'",
                                     "'12'",
                                     "'-3.5e2'",
                                     "'0x1f'",
                                     "'\\u00e9\\u00df\\u01c6'",
                                     "'\\U0001F600\\x00\\x7f'",
                                     "'\\N{DIGIT ONE}'",
                                     "'<b>&amp;&#39;&#x41;&nope; <!-- c --> d'",
                                     "('<i>'|safe)",
                                     "('a&b'|e)",
                                     "'www.x.org, (http://e.com/a?b=c) me@e.org mailto:a@b.cd <x>'",
                                     "'a-b-c long_word supercalifragilistic\\n\\nx'",
                                     "'{0.name}{1[a]!r:>{w}}'",
                                     "'nan'",
                                     "'inf'",
                                     "[]",
                                     "[1, 2, 3]",
                                     "['a', 'B', 'a']",
                                     "[[1, 'x'], [2, 'y']]",
                                     "(1, 'a', none)",
                                     "()",
                                     "(1,)",
                                     "{}",
                                     "{'a': 1, 'b': [2]}",
                                     "{1: 2, none: 3.5, (1, 2): true}",
                                     "range(5)",
                                     "range(9, 0, -2)",
                                     "namespace(x=1)",
                                     "cycler(1, 2)",
                                     "joiner('|')",
                                     "d.items()",
                                     "d.keys()",
                                     "d.values()",
                                     "(l|map('string'))",
                                     "(users|groupby('age'))",
                                     "(l|select)"};
constexpr const char* kOperators[] = {
    " + ",  " - ", " * ",  " / ",  " // ",     " % ",   " ** ", " ~ ", " == ", " != ", " < ",
    " <= ", " > ", " >= ", " in ", " not in ", " and ", " or ", "|",   " is ", ", "};
constexpr const char* kText[] = {"a",        " b \n",   "\n",     "  ",          "{",         "}",
                                 "é 日本\n", "{# c #}", "\r\n\t", "{#- c\n -#}", "<|im_end|>"};

}  // namespace

std::string TemplateGrammar::Literal() { return Of(kLiterals); }
std::string TemplateGrammar::Operator() { return Of(kOperators); }

std::string TemplateGrammar::Argument(int depth) {
  switch (random_() % 8) {
    case 0:
      return Expression(depth - 1);
    case 1:
      return Of(kNames);
    case 2:
      return Cat("'", Of(kAttributes), "'");
    case 3:
      return Chance(2) ? Cat("'", Of(kTests), "'") : Cat("'", Of(kFilters), "'");
    case 4:
      return std::to_string(static_cast<int>(random_() % 24) - 4);
    default:
      return Literal();
  }
}

std::string TemplateGrammar::Arguments(int depth) {
  std::string out;
  for (unsigned count = random_() % 4; count > 0; --count) out += Argument(depth) + ", ";
  for (unsigned count = random_() % 6 / 2; count > 0; --count) {
    out += Cat(Of(kKeywords), "=", Argument(depth), ", ");
  }
  if (Chance(12)) out += Cat("*", Argument(depth), ", ");
  if (Chance(12)) out += Cat("**", Argument(depth), ", ");
  if (!out.empty()) out.resize(out.size() - 2);
  return Cat("(", out, ")");
}

std::string TemplateGrammar::Filter(int depth) {
  const std::string name = Of(kFilters);
  return Chance(3) ? name : name + Arguments(depth);
}

std::string TemplateGrammar::Test(int depth) {
  const std::string name = Cat(Chance(4) ? " is not " : " is ", Of(kTests));
  if (Chance(2)) return name;
  return Chance(2) ? Cat(name, " ", Operand(depth - 1)) : name + Arguments(depth);
}

std::string TemplateGrammar::PercentFormat(int depth) {
  std::string format = "'";
  const bool keys = Chance(4);
  for (unsigned count = 1 + random_() % 3; count > 0; --count) {
    format += "x%";
    if (keys) format += "(a)";
    for (unsigned flags = random_() % 3; flags > 0; --flags) format += "-+ 0#"[random_() % 5];
    if (Chance(2)) format += Chance(5) ? "*" : std::to_string(random_() % 14);
    if (Chance(3)) format += Chance(5) ? ".*" : Cat(".", random_() % 12);
    if (Chance(16)) format += "l";
    format += "diouxXeEfFgGcrsa%diouxXeEfFgGcrsaq"[random_() % 34];
  }
  format += Chance(20) ? "%'" : "'";
  if (Chance(4)) return Cat("(", format, "|safe)", "|format", Arguments(depth));
  if (keys) return Cat(format, " % {'a': ", Argument(depth), "}");
  return Cat(format, " % (", Argument(depth), ", ", Argument(depth), Chance(2) ? ", " : ",) + (",
             Argument(depth), ",)");
}

std::string TemplateGrammar::BraceFormat(int depth) {
  static constexpr const char* kFields[] = {"",     "0",      "1", "a", "0.name",
                                            "0[0]", "0[a].b", "{", "9"};
  std::string format;
  for (unsigned count = 1 + random_() % 3; count > 0; --count) {
    format += Cat("y{", Chance(2) ? "" : Of(kFields));
    if (Chance(5)) format += Cat("!", std::string(1, "rsax"[random_() % 4]));
    if (!Chance(4)) {
      format += ":";
      if (Chance(3)) format += Chance(2) ? "*" : "é";
      if (Chance(2)) format += "<>^="[random_() % 4];
      if (Chance(3)) format += "+- "[random_() % 3];
      if (Chance(4)) format += "z";
      if (Chance(4)) format += "#";
      if (Chance(4)) format += "0";
      if (Chance(2)) format += Chance(6) ? "{}" : std::to_string(random_() % 30);
      if (Chance(4)) format += ",_"[random_() % 2];
      if (Chance(3)) format += Cat(".", random_() % 20);
      if (!Chance(5)) format += "bcdeEfFgGnosxX%q"[random_() % 16];
    }
    format += "}";
  }
  if (Chance(16)) format += "}{"[random_() % 2];
  return Cat("('", format, Chance(6) ? "'|safe)" : "')", Chance(8) ? ".format_map" : ".format",
             Arguments(depth));
}

std::string TemplateGrammar::Time() {
  std::string format;
  for (unsigned count = 1 + random_() % 4; count > 0; --count) {
    format += "%";
    if (Chance(3)) format += "-_0^#+"[random_() % 6];
    if (Chance(4)) format += std::to_string(random_() % 120);
    if (Chance(6)) format += "EO"[random_() % 2];
    format += "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZf%q"[random_() % 43];
  }
  return Cat("strftime_now('", format, "')");
}

std::string TemplateGrammar::Operand(int depth) {
  if (depth <= 0) return Chance(2) ? Of(kNames) : Literal();
  switch (random_() % 16) {
    case 0:
      return Cat("(", Expression(depth - 1), ")");
    case 1:
      return Cat("[", Expression(depth - 1), ", ", Expression(depth - 1), "]");
    case 2:
      return Cat("{", Literal(), ": ", Expression(depth - 1), "}");
    case 3:
      return Cat(Of(kGlobals), Arguments(depth));
    case 4:
      return BraceFormat(depth);
    case 5:
      return Chance(3) ? Time() : Cat("(", PercentFormat(depth), ")");
    case 6:
    case 7:
    case 8:
    case 9:
      return Operand(depth - 1) + Postfix(depth - 1);
    case 10:
      return Cat("'", Of(kTests), "'");
    case 11:
    case 12:
      return Literal();
    default:
      return Of(kNames);
  }
}

std::string TemplateGrammar::Postfix(int depth) {
  const auto index = [&] { return Chance(4) ? "" : Argument(depth); };
  switch (random_() % 12) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return Cat("|", Filter(depth));
    case 5:
      return Test(depth);
    case 6:
    case 7:
    case 8:
      return Cat(".", Of(kMethods), Chance(12) ? "" : Arguments(depth));
    case 9:
      return Cat(".", Of(kAttributes));
    case 10:
      return Cat("[", Argument(depth), "]");
    default:
      return Cat("[", index(), ":", index(), Chance(2) ? Cat(":", index()) : "", "]");
  }
}

std::string TemplateGrammar::Expression(int depth) {
  if (depth <= 0) return Operand(0);
  switch (random_() % 8) {
    case 0:
      return Cat(Operand(depth - 1), Operator(), Operand(depth - 1));
    case 1:
      return Cat(Operand(depth - 1), " if ", Expression(depth - 1),
                 Chance(3) ? "" : Cat(" else ", Expression(depth - 1)));
    case 2:
      return Cat(Chance(3) ? "not " : Chance(2) ? "-" : "+", Operand(depth - 1));
    default:
      return Operand(depth);
  }
}

std::string TemplateGrammar::Tag(const std::string& inside) {
  static constexpr const char* kBegin[] = {"{% ", "{% ", "{% ", "{%- ", "{%+ "};
  static constexpr const char* kEnd[] = {" %}", " %}", " %}", " -%}", " +%}"};
  return Cat(Of(kBegin), inside, Of(kEnd));
}

std::string TemplateGrammar::Target() {
  static constexpr const char* kTargets[] = {"x",   "s",      "n",        "ns.x",    "x, n",
                                             "c",   "(x, y)", "m",        "ns.y, s", "loop",
                                             "d.x", "true",   "x, (y, n)"};
  return Of(kTargets);
}

std::string TemplateGrammar::Macro(int depth) {
  static constexpr const char* kUses[] = {
      "{{ caller() }}", "{{ caller(1, x) }}", "{{ varargs }}",           "{{ kwargs }}",
      "{{ x }}{{ y }}", "{{ m.name }}",       "{{ caller is defined }}", "{{ m(x) }}"};
  static constexpr const char* kParameters[] = {"",         "x",           "x, y", "x, y=n",
                                                "x=1, y=x", "caller=none", "x, x", "caller"};
  return Tag(Cat("macro m(", Of(kParameters), ")")) + Of(kUses) + Body(depth - 1) + Tag("endmacro");
}

std::string TemplateGrammar::Statement(int depth) {
  switch (random_() % 20) {
    case 0:
    case 1:
    case 2:
      return Tag(Cat("for ", Target(), " in ", Expression(depth),
                     Chance(4) ? Cat(" if ", Expression(depth - 1)) : "",
                     Chance(4) ? " recursive" : "")) +
             Body(depth - 1) + (Chance(4) ? Tag("else") + Body(depth - 1) : "") + Tag("endfor");
    case 3:
      return Tag(Cat("if ", Expression(depth))) + Body(depth - 1) +
             (Chance(3) ? Tag(Cat("elif ", Expression(depth))) + Body(depth - 1) : "") +
             (Chance(2) ? Tag("else") + Body(depth - 1) : "") + Tag("endif");
    case 4:
    case 5:
      return Tag(Cat("set ", Target(), " = ", Expression(depth)));
    case 6:
      return Tag(Cat("set ", Target(), Chance(2) ? "" : Cat(" | ", Filter(depth)))) +
             Body(depth - 1) + Tag("endset");
    case 7:
    case 8:
      return Macro(depth) + Cat("{{ m", Arguments(depth), " }}");
    case 9:
      return Macro(depth) + Tag(Cat("call", Chance(3) ? "(x, y=2)" : "", " m", Arguments(depth))) +
             Body(depth - 1) + Tag("endcall");
    case 10:
      return Tag(Cat("filter ", Filter(depth))) + Body(depth - 1) + Tag("endfilter");
    case 11:
      return Tag(Cat("with ", Target(), " = ", Expression(depth), ", y = x")) + Body(depth - 1) +
             Tag("endwith");
    case 12:
      return Tag(Cat("block b", Chance(4) ? " scoped" : "", Chance(4) ? " required" : "")) +
             Body(depth - 1) + Tag(Chance(2) ? "endblock" : "endblock b");
    case 13:
      return Tag("generation") + Body(depth - 1) + Tag("endgeneration");
    case 14:
      return Tag(Cat("autoescape ", Argument(depth))) + Body(depth - 1) + Tag("endautoescape");
    case 15:
      return Tag("raw") + Body(depth - 1) + Tag("endraw");
    case 16:
      return Tag(Cat("print ", Expression(depth), ", ", Expression(depth - 1)));
    case 17: {
      static constexpr const char* kOdd[] = {"break",
                                             "continue",
                                             "include 'x'",
                                             "extends 'x'",
                                             "import 'x' as y",
                                             "do x",
                                             "from 'x' import y",
                                             "endfor",
                                             "else",
                                             "include ['x'] ignore missing",
                                             "trans",
                                             "from 'x' import y as z, w with context",
                                             "import 'x' as y without context"};
      return Tag(Of(kOdd));
    }
    case 18:
      return Tag("set ns = namespace(x=1)") + Tag("set c = cycler(1, 'b')") +
             Tag("set j = joiner()") + Body(depth - 1);
    default:
      return Body(depth - 1);
  }
}

std::string TemplateGrammar::Body(int depth) {
  std::string out;
  for (unsigned count = 1 + random_() % 3; count > 0; --count) {
    if (depth > 0 && Chance(2)) {
      out += Statement(depth);
    } else if (Chance(4)) {
      out += Of(kText);
    } else {
      out += Cat(Chance(8) ? "{{- " : "{{ ", Expression(depth), Chance(8) ? " -}}" : " }}");
    }
  }
  return out;
}

}  // namespace shardline::fuzz
