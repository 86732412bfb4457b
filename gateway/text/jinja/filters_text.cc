// Filters on text.
#include <algorithm>

#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/html.h"
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/json.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja::filters {

namespace {

bool Flag(const CallFrame& call, size_t index, bool missing = false) {
  return call.has(index) ? Truth(call[index]) : missing;
}

[[noreturn]] void NoAttribute(const Value& value, const char* name) {
  if (value.is_undefined()) FailUndefined(value);
  Throw(ErrorKind::kRuntime, "'", TypeName(value), "' object has no attribute '", name, "'");
}

Value AsMarkup(const Value& string, bool markup) {
  return MakeString(string.string().text, string.string().marks, markup);
}

}  // namespace

Value Center(CallFrame& call) {
  return CenterText(ToStr(call[0], true), call.has(1) ? ToIndex64(call[1]) : 80, " ");
}

Value Escape(CallFrame& call) { return EscapeHtml(ToStr(call[0], true)); }

Value ForceEscape(CallFrame& call) { return EscapeHtml(ToStr(call[0])); }

Value Safe(CallFrame& call) { return AsMarkup(ToStr(call[0], true), true); }

Value Format(CallFrame& call) {
  const Value format = ToStr(call[0], true);
  if (!call.rest.positional.empty() && !call.rest.keyword.empty()) {
    RuntimeError("can't handle positional and keyword arguments at the same time");
  }
  if (call.rest.keyword.empty()) return FormatPercent(format, MakeTuple(call.rest.positional));
  auto dict = Make<DictObject>();
  for (const auto& [name, value] : call.rest.keyword) dict->Set(Value(name), value);
  return FormatPercent(format, MakeDict(std::move(dict)));
}

Value Replace(CallFrame& call) {
  const int64_t count = call.given(3) ? ToIndex64(call[3]) : -1;
  if (!call.interpreter.autoescape()) {
    return ReplaceText(ToStr(call[0]), ToStr(call[1]), ToStr(call[2]), count);
  }
  const auto is_markup = [](const Value& value) {
    return value.is_string() && value.string().markup;
  };
  Value text = ToStr(call[0], true);
  if (is_markup(call[1]) || (is_markup(call[2]) && !is_markup(call[0]))) text = EscapeHtml(text);
  return ReplaceText(text, ToStr(call[1], true), ToStr(call[2], true), count);
}

Value Trim(CallFrame& call) {
  if (call.given(1) && !call[1].is_string()) TypeError("strip arg must be None or str");
  return StripText(ToStr(call[0], true), call.given(1) ? &call[1] : nullptr, true, true);
}

Value Indent(CallFrame& call) {
  if (!call[0].is_string()) {
    if (call[0].is_undefined()) FailUndefined(call[0]);
    if (call[0].is(Kind::kList)) TypeError("'list' object has no attribute 'splitlines'");
    TypeError("unsupported operand type(s) for +=: '", TypeName(call[0]), "' and 'str'");
  }
  const bool markup = call[0].string().markup;
  Value indent = Value("    ");
  if (call.has(1)) {
    if (call[1].is_string()) {
      indent = call[1];
    } else {
      TextBuilder spaces;
      spaces.AppendRepeated(" ", static_cast<size_t>(std::max<int64_t>(0, ToIndex64(call[1]))));
      indent = spaces.Build();
    }
  }
  if (markup) indent = AsMarkup(indent, true);
  const bool first = Flag(call, 2), blank = Flag(call, 3);
  const std::vector<Value> lines = SplitLines(Add(call[0], Value("\n")), false);
  TextBuilder builder;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) builder.Append("\n");
    if (i == 0 ? first : blank || !lines[i].text().empty()) builder.Append(indent);
    builder.Append(lines[i]);
  }
  return builder.Build(markup || (first && indent.string().markup));
}

Value Title(CallFrame& call) {
  // Words begin after blanks, hyphens and opening brackets, unlike those of str.title().
  const Value value = ToStr(call[0], true);
  const StringObject& string = value.string();
  const std::string_view text(string.text);
  const auto separates = [](char32_t c) {
    return IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  TextBuilder builder;
  for (size_t begin = 0; begin < text.size();) {
    const size_t first_end = begin + CodePointWidth(text, begin);
    size_t end = begin;
    for (size_t next = begin; next < text.size() && !separates(NextCodePoint(text, &next));) {
      end = next;
    }
    if (end == begin) {
      builder.Append(string, begin, first_end);
      begin = first_end;
      continue;
    }
    builder.Append(UpperText(Substring(string, begin, first_end)));
    builder.Append(LowerText(Substring(string, first_end, end)));
    begin = end;
  }
  return builder.Build();
}

Value Truncate(CallFrame& call) {
  const int64_t length = call.has(1) ? ToIndex64(call[1]) : 255;
  const bool killwords = Flag(call, 2);
  const Value end = call.has(3) ? call[3] : Value("...");
  const int64_t leeway = call.given(4) ? ToIndex64(call[4]) : 5;
  const auto end_length = static_cast<int64_t>(Length(end));
  if (length < end_length) RuntimeError("expected length >= ", end_length, ", got ", length);
  if (leeway < 0) RuntimeError("expected leeway >= 0, got ", leeway);
  const Value& text = call[0];
  if (static_cast<int64_t>(Length(text)) <= length + leeway) return text;
  Value head = Slice(text, Value(), Value(length - end_length), Value());
  if (!killwords) {
    if (!head.is_string()) NoAttribute(head, "rsplit");
    const Value space = Value(" ");
    head = SplitText(head, &space, 1, true)[0];
  }
  return Add(head, end);
}

Value Wordcount(CallFrame& call) {
  const Value value = ToStr(call[0], true);
  const std::string_view text = value.text();
  int64_t count = 0;
  bool in_word = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = NextCodePoint(text, &offset);
    const bool word = c == '_' || IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c);
    if (word && !in_word) ++count;
    in_word = word;
  }
  StepBytes(text.size());
  return Value(count);
}

namespace {

std::string UrlQuote(const Value& value, bool query) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  const Value string = ToStr(value);
  std::string out;
  for (const char c : string.text()) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out += c;
    } else if (query && c == ' ') {
      out += '+';
    } else {
      out += '%';
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

}  // namespace

Value Urlencode(CallFrame& call) {
  const Value& value = call[0];
  switch (value.kind()) {
    case Kind::kDict:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kIterator:
    case Kind::kView:
    case Kind::kRange:
    case Kind::kUndefined:
      break;
    default:
      return WhollyMarked(UrlQuote(value, false), HasMarks(value));
  }
  std::vector<Value> pairs;
  if (value.is(Kind::kDict)) {
    for (const auto& [key, item] : value.dict().items) pairs.push_back(MakeTuple({key, item}));
  } else {
    pairs = Collect(value);
  }
  std::string out;
  bool marked = false;
  for (const Value& pair : pairs) {
    const std::vector<Value> items = Collect(pair);
    if (items.size() != 2) {
      ValueError(items.size() < 2 ? "not enough values to unpack (expected 2, got "
                                  : "too many values to unpack (expected 2, got ",
                 items.size(), ")");
    }
    if (!out.empty()) out += '&';
    out += Cat(UrlQuote(items[0], true), "=", UrlQuote(items[1], true));
    marked = marked || HasMarks(pair);
  }
  return WhollyMarked(std::move(out), marked);
}

Value Xmlattr(CallFrame& call) {
  if (!call[0].is(Kind::kDict)) NoAttribute(call[0], "items");
  TextBuilder builder;
  for (const auto& [key, value] : call[0].dict().items) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!key.is_string())
      TypeError("expected string or bytes-like object, got '", TypeName(key), "'");
    if (key.text().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      ValueError("Invalid character in attribute name: ", ToRepr(key));
    }
    if (builder.size() > 0 || Flag(call, 1, true)) builder.Append(" ");
    builder.Append(EscapeHtml(ToStr(key, true)));
    builder.Append("=\"");
    builder.Append(EscapeHtml(ToStr(value, true)));
    builder.Append("\"");
  }
  return builder.Build(call.interpreter.autoescape());
}

Value Striptags(CallFrame& call) {
  const Value string = ToStr(call[0]);
  return WhollyMarked(StripTags(string.text()), HasMarks(string));
}

Value ToJsonText(CallFrame& call) {
  JsonStyle style;
  style.ascii = Flag(call, 1);
  if (call.given(2)) {
    style.item_separator.assign(1, ',');
    if (call[2].is_string()) {
      style.indent = std::string(call[2].text());
    } else {
      const int64_t width = std::max<int64_t>(0, ToIndex64(call[2]));
      CheckTextSize(static_cast<size_t>(width));
      style.indent = std::string(static_cast<size_t>(width), ' ');
    }
  }
  if (call.given(3)) {
    const std::vector<Value> separators = Collect(call[3]);
    if (separators.size() != 2) ValueError("tojson separators must be a pair of strings");
    for (const Value& separator : separators) {
      if (!separator.is_string()) TypeError("tojson separators must be strings");
    }
    style.item_separator = std::string(separators[0].text());
    style.key_separator = std::string(separators[1].text());
  }
  style.sort_keys = Flag(call, 4);
  return WhollyMarked(ToJson(call[0], style), HasMarks(call[0]));
}

}  // namespace shardline::jinja::filters
