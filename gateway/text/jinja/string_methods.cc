// The table of str methods.
#include "gateway/text/jinja/string_methods.h"

#include <algorithm>

#include "gateway/text/jinja/format.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

using Call = CallFrame;

const Value& TextArgument(const Call& call, size_t index) {
  const Value& value = call[index];
  if (!value.is_string()) {
    TypeError(call.native.name, "() argument ", index + 1, " must be str, not ", TypeName(value));
  }
  return value;
}

// An optional string: nullptr when it is not given or None.
const Value* OptionalText(const Call& call, size_t index) {
  return call.given(index) ? &TextArgument(call, index) : nullptr;
}

int64_t IntArgument(const Call& call, size_t index, int64_t missing) {
  return call.has(index) ? ToIndex64(call[index]) : missing;
}

// The code points [start, end) that the arguments at `index` and `index` + 1 name, as bytes; none
// when start lies behind the end of the text.
struct Window {
  size_t begin = 0, end = 0;
  bool valid = true;
};

Window WindowOf(const Call& call, size_t index) {
  const auto size = static_cast<int64_t>(Length(call.self));
  const auto bound = [&](size_t i, int64_t missing) {
    if (!call.given(i)) return missing;
    if (!call[i].is_integral()) {
      TypeError("slice indices must be integers or None or have an __index__ method");
    }
    int64_t at = ToIndex64(call[i]);
    if (at < 0) at = std::max<int64_t>(0, at + size);
    return at;
  };
  const int64_t start = bound(index, 0);
  const int64_t end = std::min(bound(index + 1, size), size);
  if (start > size || start > end) return {0, 0, false};
  const std::string_view text = call.self.text();
  return {OffsetOf(text, static_cast<size_t>(start)), OffsetOf(text, static_cast<size_t>(end)),
          true};
}

// find() and its relatives: a position in code points, or -1.
int64_t Find(const Call& call, bool last) {
  const std::string_view wanted = TextArgument(call, 0).text();
  const Window window = WindowOf(call, 1);
  if (!window.valid) return -1;
  const std::string_view text = call.self.text().substr(0, window.end);
  StepBytes(text.size());
  size_t found = last ? FindLastText(text, wanted) : FindText(text, wanted, window.begin);
  if (found == std::string_view::npos || found < window.begin) return -1;
  return static_cast<int64_t>(CountCodePoints(text.substr(0, found)));
}

Value Index(const Call& call, bool last) {
  const int64_t found = Find(call, last);
  if (found < 0) ValueError("substring not found");
  return Value(found);
}

Value Count(Call& call) {
  const std::string_view wanted = TextArgument(call, 0).text();
  const Window window = WindowOf(call, 1);
  if (!window.valid) return Value(0);
  const std::string_view text = call.self.text().substr(window.begin, window.end - window.begin);
  StepBytes(text.size());
  if (wanted.empty()) return Value(CountCodePoints(text) + 1);
  int64_t count = 0;
  for (size_t at = FindText(text, wanted); at != std::string_view::npos;
       at = FindText(text, wanted, at + wanted.size())) {
    ++count;
  }
  return Value(count);
}

Value Affix(const Call& call, bool at_end) {
  const Window window = WindowOf(call, 1);
  const std::string_view text = call.self.text().substr(window.begin, window.end - window.begin);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      TypeError(call.native.name, " first arg must be str or a tuple of str, not ",
                TypeName(affix));
    }
    if (!window.valid) return false;
    StepBytes(affix.text().size());
    return at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text());
  };
  if (call[0].is(Kind::kTuple)) {
    const auto& items = call[0].items();
    return Value(std::any_of(items.begin(), items.end(), matches));
  }
  return Value(matches(call[0]));
}

Value Split(const Call& call, bool from_right) {
  return MakeList(
      SplitText(call.self, OptionalText(call, 0), IntArgument(call, 1, -1), from_right));
}

Value Strip(const Call& call, bool left, bool right) {
  return StripText(call.self, OptionalText(call, 0), left, right);
}

Value Replace(Call& call) {
  return ReplaceText(call.self, TextArgument(call, 0), TextArgument(call, 1),
                     IntArgument(call, 2, -1));
}

Value Join(Call& call) { return JoinText(call.self, Collect(call[0])); }

std::string Fill(const Call& call) {
  if (!call.has(1)) return " ";
  const Value& fill = TextArgument(call, 1);
  if (CountCodePoints(fill.text()) != 1) {
    TypeError("The fill character must be exactly one character long");
  }
  return std::string(fill.text());
}

Value Justify(const Call& call, bool left) {
  const int64_t width = ToIndex64(call[0]);
  const auto size = static_cast<int64_t>(Length(call.self));
  const std::string fill = Fill(call);
  if (width <= size) return call.self;
  TextBuilder builder;
  if (!left) builder.AppendRepeated(fill, static_cast<size_t>(width - size));
  builder.Append(call.self);
  if (left) builder.AppendRepeated(fill, static_cast<size_t>(width - size));
  return builder.Build(call.self.string().markup);
}

Value Center(Call& call) { return CenterText(call.self, ToIndex64(call[0]), Fill(call)); }

Value ZeroFill(Call& call) {
  const int64_t width = ToIndex64(call[0]);
  const StringObject& string = call.self.string();
  const auto size = static_cast<int64_t>(Length(call.self));
  if (width <= size) return call.self;
  const size_t sign = !string.text.empty() && (string.text[0] == '+' || string.text[0] == '-');
  TextBuilder builder;
  builder.Append(string, 0, sign);
  builder.AppendRepeated("0", static_cast<size_t>(width - size));
  builder.Append(string, sign, string.text.size());
  return builder.Build(string.markup);
}

Value Partition(const Call& call, bool last) {
  const StringObject& string = call.self.string();
  const std::string_view separator = TextArgument(call, 0).text();
  if (separator.empty()) ValueError("empty separator");
  const size_t found =
      last ? FindLastText(string.text, separator) : FindText(string.text, separator);
  const size_t size = string.text.size();
  if (found == std::string::npos) {
    const Value empty = Substring(string, 0, 0);
    return last ? MakeTuple({empty, empty, call.self}) : MakeTuple({call.self, empty, empty});
  }
  return MakeTuple({Substring(string, 0, found), Substring(string, found, found + separator.size()),
                    Substring(string, found + separator.size(), size)});
}

Value RemoveAffix(const Call& call, bool suffix) {
  const StringObject& string = call.self.string();
  const std::string_view affix = TextArgument(call, 0).text();
  const std::string_view text(string.text);
  if (affix.empty() || !(suffix ? text.ends_with(affix) : text.starts_with(affix)))
    return call.self;
  return suffix ? Substring(string, 0, text.size() - affix.size())
                : Substring(string, affix.size(), text.size());
}

// A method that works on each character; `map` sees it, where it begins, and whether a cased one
// precedes it.
template <typename Map>
Value MapCharacters(const Value& value, Map map) {
  const StringObject& string = value.string();
  Step(string.text.size() / 2);  // each is looked up
  TextBuilder builder;
  bool after_cased = false;
  size_t mark = 0;
  for (size_t offset = 0; offset < string.text.size();) {
    const size_t begin = offset;
    const char32_t c = NextCodePoint(string.text, &offset);
    while (mark < string.marks.size() && string.marks[mark].end <= begin) ++mark;
    const bool marked = mark < string.marks.size() && string.marks[mark].begin <= begin;
    builder.AppendInput(map(c, begin, after_cased), marked);
    after_cased = IsCased(c);
  }
  return builder.Build(string.markup);
}

Value Title(Call& call) {
  const std::string_view text = call.self.text();
  return MapCharacters(call.self, [text](char32_t c, size_t at, bool after_cased) {
    return after_cased ? ToLowerAt(text, at) : ToTitle(c);
  });
}

Value SwapCase(Call& call) {
  const std::string_view text = call.self.text();
  return MapCharacters(call.self, [text](char32_t c, size_t at, bool) {
    const std::string_view bytes = text.substr(at, CodePointWidth(text, at));
    return IsUpper(c) ? ToLowerAt(text, at) : IsLower(c) ? ToUpper(bytes) : std::string(bytes);
  });
}

Value Casefold(Call& call) {
  const std::string_view text = call.self.text();
  return MapCharacters(call.self, [text](char32_t, size_t at, bool) {
    return CaseFold(text.substr(at, CodePointWidth(text, at)));
  });
}

Value ExpandTabs(Call& call) {
  const int64_t size = IntArgument(call, 0, 8);
  const StringObject& string = call.self.string();
  Step(string.text.size() / 8);
  TextBuilder builder;
  int64_t column = 0;
  for (size_t offset = 0; offset < string.text.size();) {
    const size_t begin = offset;
    const char32_t c = NextCodePoint(string.text, &offset);
    if (c == '\t') {
      if (size <= 0) continue;
      const int64_t spaces = size - column % size;
      builder.AppendRepeated(" ", static_cast<size_t>(spaces));
      column += spaces;
      continue;
    }
    builder.Append(string, begin, offset);
    column = c == '\n' || c == '\r' ? 0 : column + 1;
  }
  return builder.Build(string.markup);
}

Value Translate(Call& call) {
  const StringObject& string = call.self.string();
  if (!call[0].is(Kind::kDict))
    TypeError("'", TypeName(call[0]), "' object is not a translation table");
  TextBuilder builder;
  for (size_t offset = 0; offset < string.text.size();) {
    const size_t begin = offset;
    const char32_t c = NextCodePoint(string.text, &offset);
    const Value* to = call[0].dict().Find(Value(static_cast<int64_t>(c)));
    if (to == nullptr) {
      builder.Append(string, begin, offset);
    } else if (to->is_string()) {
      builder.Append(*to);
    } else if (to->is_integral()) {
      std::string text;
      AppendCodePoint(&text, static_cast<char32_t>(to->integer()));
      builder.Append(text);
    } else if (!to->is_none()) {
      TypeError("character mapping must return integer, None or str");
    }
  }
  return builder.Build(string.markup);
}

Value FormatMap(Call& call) {
  if (!call[0].is(Kind::kDict)) TypeError("format_map() argument must be a mapping");
  Arguments arguments;
  for (const auto& [key, value] : call[0].dict().items) {
    if (key.is_string()) arguments.keyword.emplace_back(std::string(key.text()), value);
  }
  return FormatBraces(call.interpreter, call.self, arguments);
}

template <bool (*Is)(char32_t)>
bool All(std::string_view text) {
  Step(text.size() / 8);
  for (size_t offset = 0; offset < text.size();) {
    if (!Is(NextCodePoint(text, &offset))) return false;
  }
  return !text.empty();
}

bool IsAlnum(char32_t c) { return IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c); }

bool IsTitleText(std::string_view text) {
  Step(text.size() / 8);
  bool cased = false, after_cased = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = NextCodePoint(text, &offset);
    if (IsUpper(c) || IsTitle(c)) {
      if (after_cased) return false;
      after_cased = cased = true;
    } else if (IsLower(c)) {
      if (!after_cased) return false;
      after_cased = cased = true;
    } else {
      after_cased = false;
    }
  }
  return cased;
}

bool IsIdentifierText(std::string_view text) {
  if (text.empty()) return false;
  size_t offset = 0;
  if (!IsIdentifierStart(NextCodePoint(text, &offset))) return false;
  return offset == text.size() || All<IsIdentifierPart>(text.substr(offset));
}

Value Refuse(Call& call) {
  RuntimeError("str.", call.native.name, "() is not available in chat templates");
}

#define IS(expression)                           \
  [](Call& c) {                                  \
    const std::string_view text = c.self.text(); \
    return Value(static_cast<bool>(expression)); \
  }
#define DO(expression) [](Call& c) { return Value(expression); }

}  // namespace

const std::vector<Native>& StringMethods() {
  static const std::vector<Native> table = {
      {"capitalize", "/", DO(CapitalizeText(c.self))},
      {"casefold", "/", Casefold},
      {"center", "/ width fillchar=", Center},
      {"count", "/ sub start= end=", Count},
      {"encode", "*args", Refuse},
      {"endswith", "/ suffix start= end=", DO(Affix(c, true))},
      {"expandtabs", "tabsize=", ExpandTabs},
      {"find", "/ sub start= end=", DO(Find(c, false))},
      {"format", "*args", DO(FormatBraces(c.interpreter, c.self, c.rest))},
      {"format_map", "/ mapping", FormatMap},
      {"index", "/ sub start= end=", DO(Index(c, false))},
      {"isalnum", "/", IS(All<IsAlnum>(text))},
      {"isalpha", "/", IS(All<IsAlpha>(text))},
      {"isascii", "/", IS(IsAscii(text))},
      {"isdecimal", "/", IS(All<IsDecimal>(text))},
      {"isdigit", "/", IS(All<IsDigit>(text))},
      {"isidentifier", "/", IS(IsIdentifierText(text))},
      {"islower", "/", IS(IsLowerText(text))},
      {"isnumeric", "/", IS(All<IsNumeric>(text))},
      {"isprintable", "/", IS(text.empty() || All<IsPrintable>(text))},
      {"isspace", "/", IS(All<IsSpace>(text))},
      {"istitle", "/", IS(IsTitleText(text))},
      {"isupper", "/", IS(IsUpperText(text))},
      {"join", "/ iterable", Join},
      {"ljust", "/ width fillchar=", DO(Justify(c, true))},
      {"lower", "/", DO(LowerText(c.self))},
      {"lstrip", "/ chars=", DO(Strip(c, true, false))},
      {"maketrans", "*args", Refuse},
      {"partition", "/ sep", DO(Partition(c, false))},
      {"removeprefix", "/ prefix", DO(RemoveAffix(c, false))},
      {"removesuffix", "/ suffix", DO(RemoveAffix(c, true))},
      {"replace", "/ old new count=", Replace},
      {"rfind", "/ sub start= end=", DO(Find(c, true))},
      {"rindex", "/ sub start= end=", DO(Index(c, true))},
      {"rjust", "/ width fillchar=", DO(Justify(c, false))},
      {"rpartition", "/ sep", DO(Partition(c, true))},
      {"rsplit", "sep= maxsplit=", DO(Split(c, true))},
      {"rstrip", "/ chars=", DO(Strip(c, false, true))},
      {"split", "sep= maxsplit=", DO(Split(c, false))},
      {"splitlines", "keepends=", DO(MakeList(SplitLines(c.self, c.has(0) && ToIndex(c[0]) != 0)))},
      {"startswith", "/ prefix start= end=", DO(Affix(c, false))},
      {"strip", "/ chars=", DO(Strip(c, true, true))},
      {"swapcase", "/", SwapCase},
      {"title", "/", Title},
      {"translate", "/ table", Translate},
      {"upper", "/", DO(UpperText(c.self))},
      {"zfill", "/ width", ZeroFill},
  };
  return table;
}

#undef IS
#undef DO

}  // namespace shardline::jinja
