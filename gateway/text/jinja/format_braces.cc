// Python's str.format(), with attribute access that the sandbox allows.
#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"

namespace shardline::jinja {

namespace {

class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, bool markup, const Arguments& arguments)
      : interpreter_(interpreter), markup_(markup), arguments_(arguments) {}

  // `format` may be part of a format: the spec of a field, one level down.
  void Run(const StringObject& format, size_t begin, size_t end, int depth, TextBuilder* out) {
    if (depth > 3) ValueError("Max string recursion exceeded");
    const std::string_view text(format.text);
    while (begin < end) {
      size_t brace = begin;
      while (brace < end && text[brace] != '{' && text[brace] != '}') ++brace;
      out->Append(format, begin, brace);
      if (brace == end) return;
      if (brace + 1 < end && text[brace + 1] == text[brace]) {
        out->Append(format, brace, brace + 1);
        begin = brace + 2;
        continue;
      }
      if (text[brace] == '}') ValueError("Single '}' encountered in format string");
      if (brace + 1 >= end) ValueError("Single '{' encountered in format string");
      begin = Field(format, brace + 1, end, depth, out);
    }
  }

 private:
  // The field that begins at `begin`, after its '{'; returns where the text goes on.
  size_t Field(const StringObject& format, size_t begin, size_t end, int depth, TextBuilder* out) {
    const std::string_view text(format.text);
    size_t name_end = begin;
    for (bool bracket = false; name_end < end; ++name_end) {
      const char c = text[name_end];
      if (c == '[') bracket = true;
      if (c == ']') bracket = false;
      if (c == '{') ValueError("unexpected '{' in field name");
      if (!bracket && (c == '}' || c == ':' || c == '!')) break;
    }
    if (name_end >= end) ValueError("expected '}' before end of string");
    size_t at = name_end;
    char conversion = '\0';
    if (text[at] == '!') {
      if (at + 2 >= end) ValueError("end of string while looking for conversion specifier");
      conversion = text[at + 1];
      at += 2;
      if (text[at] != ':' && text[at] != '}') ValueError("expected ':' after conversion specifier");
    }
    size_t spec_begin = at, spec_end = at;
    if (text[at] == ':') {
      spec_begin = ++at;
      for (int open = 1; at < end; ++at) {
        if (text[at] == '{') ++open;
        if (text[at] == '}' && --open == 0) break;
      }
      if (at >= end) ValueError("expected '}' before end of string");
      spec_end = at;
    }
    Value value = Lookup(text.substr(begin, name_end - begin));
    switch (conversion) {
      case '\0':
        break;
      case 's':
        value = ToStr(value);
        break;
      case 'r':
        value = ToReprValue(value);
        break;
      case 'a':
        value = WhollyMarked(AsciiOf(ToRepr(value)), HasMarks(value));
        break;
      default:
        ValueError("Unknown conversion specifier ", conversion);
    }
    TextBuilder spec;
    Run(format, spec_begin, spec_end, depth + 1, &spec);
    if (markup_) {
      if (value.is_string() && value.string().markup) {
        if (spec.size() > 0) ValueError("Unsupported format specification for Markup.");
        out->Append(value);
      } else {
        out->Append(EscapeHtml(FormatValue(value, spec.text())));
      }
    } else {
      out->Append(FormatValue(value, spec.text()));
    }
    return at + 1;
  }

  Value Lookup(std::string_view name) {
    // Only a name that is empty or a number as a whole takes part in the numbering of fields.
    if (name.empty()) {
      Number('a');
      return Positional(next_++);
    }
    if (IsIndex(name)) Number('m');
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = First(name.substr(0, first_end));
    for (size_t at = first_end; at < name.size();) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        if (end == at + 1) ValueError("Empty attribute in format string");
        value = GetAttribute(interpreter_, value, name.substr(at + 1, end - at - 1));
        at = end;
      } else if (name[at] == '[') {
        const size_t end = name.find(']', at);
        if (end == std::string_view::npos) ValueError("Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, end - at - 1);
        if (key.empty()) ValueError("Empty attribute in format string");
        value = GetItem(interpreter_, value, KeyOf(key));
        at = end + 1;
      } else {
        ValueError("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  static bool IsIndex(std::string_view key) {
    return !key.empty() && key.size() < 10 &&
           key.find_first_not_of("0123456789") == std::string_view::npos;
  }

  static Value KeyOf(std::string_view key) {
    if (!IsIndex(key)) return Value(key);
    Int index = 0;
    ParseInt(key, 10, &index);
    return Value(index);
  }

  void Number(char how) {
    if (numbering_ != '\0' && numbering_ != how) {
      ValueError(
          how == 'a'
              ? "cannot switch from manual field specification to automatic field numbering"
              : "cannot switch from automatic field numbering to manual field specification");
    }
    numbering_ = how;
  }

  Value Positional(size_t index) const {
    if (index >= arguments_.positional.size()) {
      Throw(ErrorKind::kLookup, "Replacement index ", index,
            " out of range for positional args tuple");
    }
    return arguments_.positional[index];
  }

  Value First(std::string_view name) const {
    if (IsIndex(name)) return Positional(static_cast<size_t>(KeyOf(name).integer()));
    for (const auto& [key, value] : arguments_.keyword) {
      if (key == name) return value;
    }
    Throw(ErrorKind::kLookup, ReprText(name));
  }

  Interpreter& interpreter_;
  const bool markup_;
  const Arguments& arguments_;
  char numbering_ = '\0';  // 'a': automatic, 'm': manual
  size_t next_ = 0;
};

}  // namespace

Value FormatBraces(Interpreter& interpreter, const Value& format, const Arguments& arguments) {
  const StringObject& string = format.string();
  TextBuilder out;
  BraceFormatter(interpreter, string.markup, arguments).Run(string, 0, string.text.size(), 1, &out);
  return out.Build(string.markup);
}

}  // namespace shardline::jinja
