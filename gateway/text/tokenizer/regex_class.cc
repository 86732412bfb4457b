#include "gateway/text/tokenizer/regex_class.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <array>
#include <cctype>
#include <charconv>
#include <iterator>
#include <optional>

#include "gateway/text/tokenizer/unicode_data.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr int kMaxClassDepth = 32;

std::string HexEscape(char32_t c) {
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof(digits), static_cast<uint32_t>(c), 16).ptr;
  return Cat("\\x{", std::string_view(digits, end - digits), "}");
}

std::string Ranges(const icu::UnicodeSet& set) {
  std::string out;
  for (int32_t i = 0; i < set.getRangeCount(); ++i) {
    UChar32 first = set.getRangeStart(i), last = set.getRangeEnd(i);
    // Surrogates are no characters; PCRE2 refuses them.
    if (first >= 0xD800 && last <= 0xDFFF) continue;
    if (first < 0xD800 && last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
    if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
    out += HexEscape(first);
    if (last > first) out += Cat("-", HexEscape(last));
  }
  return out;
}

// \p{Xx} for PCRE2 plus the characters that are Xx only since Unicode 15; empty where some have
// left it.
std::string SymbolicCategory(std::string_view category) {
  icu::UnicodeSet added;
  for (const CategoryChange& change : CategoryChanges()) {
    const bool before = std::string_view(change.before).starts_with(category);
    const bool now = std::string_view(change.category).starts_with(category);
    if (before && !now) return {};
    if (now && !before) added.add(change.first, change.last);
  }
  return Cat("\\p{", category, "}", Ranges(added));
}

RegexSet FromCategories(std::initializer_list<std::string_view> categories) {
  RegexSet result;
  for (const std::string_view category : categories) {
    RegexSet one{CategorySet(category), SymbolicCategory(category)};
    if (result.set.isEmpty() && result.symbolic.empty()) {
      result = one;
    } else {
      result.Add(one);
    }
  }
  return result;
}

RegexSet FromSet(icu::UnicodeSet set) {
  RegexSet result{std::move(set), {}};
  if (result.set.getRangeCount() <= 16) result.symbolic = Ranges(result.set);
  return result;
}

RegexSet Negate(RegexSet set) {
  set.set.complement();
  // A single property negates in place: \P{L}; anything else is written out.
  const bool property =
      set.symbolic.starts_with("\\p{") && set.symbolic.find('}') + 1 == set.symbolic.size();
  if (property) {
    set.symbolic[1] = 'P';
    return set;
  }
  return FromSet(std::move(set.set));
}

RegexSet SpaceSet() {
  icu::UnicodeSet set;
  for (const auto& [first, last] :
       std::initializer_list<std::pair<char32_t, char32_t>>{{0x09, 0x0D},
                                                            {0x20, 0x20},
                                                            {0x85, 0x85},
                                                            {0xA0, 0xA0},
                                                            {0x1680, 0x1680},
                                                            {0x2000, 0x200A},
                                                            {0x2028, 0x2029},
                                                            {0x202F, 0x202F},
                                                            {0x205F, 0x205F},
                                                            {0x3000, 0x3000}}) {
    set.add(first, last);
  }
  return FromSet(std::move(set));
}

// Other_Alphabetic outside M: circled and squared letters.
RegexSet LetterSymbols() {
  RegexSet set = RangeSet(0x24B6, 0x24E9);
  set.Add(RangeSet(0x1F130, 0x1F149));
  set.Add(RangeSet(0x1F150, 0x1F169));
  set.Add(RangeSet(0x1F170, 0x1F189));
  return set;
}

RegexSet WordSet(bool superscripts) {
  RegexSet set = FromCategories({"L", "M", "Nd", "Nl", "Pc"});
  set.Add(LetterSymbols());
  if (superscripts) {  // Oniguruma's \w has them; in brackets, and as [:word:], it has not
    set.Add(RangeSet(0xB2, 0xB3));
    set.Add(RangeSet(0xB9, 0xB9));
    set.Add(RangeSet(0xBC, 0xBE));
  }
  return set;
}

RegexSet Binary(UProperty property) {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet set;
  set.applyIntPropertyValue(property, 1, status);
  return FromSet(std::move(set));
}

// Letters alone, lower case: "Lowercase_Letter" and "lowercase letter" are the same name.
std::string LooseName(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    out.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return out;
}

struct LongName {
  std::string_view name, category;
};
constexpr LongName kLongNames[] = {{"letter", "L"},
                                   {"uppercaseletter", "Lu"},
                                   {"lowercaseletter", "Ll"},
                                   {"titlecaseletter", "Lt"},
                                   {"modifierletter", "Lm"},
                                   {"otherletter", "Lo"},
                                   {"mark", "M"},
                                   {"combiningmark", "M"},
                                   {"nonspacingmark", "Mn"},
                                   {"spacingmark", "Mc"},
                                   {"enclosingmark", "Me"},
                                   {"number", "N"},
                                   {"decimalnumber", "Nd"},
                                   {"letternumber", "Nl"},
                                   {"othernumber", "No"},
                                   {"punctuation", "P"},
                                   {"connectorpunctuation", "Pc"},
                                   {"dashpunctuation", "Pd"},
                                   {"openpunctuation", "Ps"},
                                   {"closepunctuation", "Pe"},
                                   {"initialpunctuation", "Pi"},
                                   {"finalpunctuation", "Pf"},
                                   {"otherpunctuation", "Po"},
                                   {"symbol", "S"},
                                   {"mathsymbol", "Sm"},
                                   {"currencysymbol", "Sc"},
                                   {"modifiersymbol", "Sk"},
                                   {"othersymbol", "So"},
                                   {"separator", "Z"},
                                   {"spaceseparator", "Zs"},
                                   {"lineseparator", "Zl"},
                                   {"paragraphseparator", "Zp"},
                                   {"other", "C"},
                                   {"control", "Cc"},
                                   {"format", "Cf"},
                                   {"privateuse", "Co"},
                                   {"unassigned", "Cn"},
                                   {"digit", "Nd"},
                                   {"cntrl", "Cc"}};
constexpr std::string_view kCategories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc",
                                            "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
                                            "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                            "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn"};

std::string_view CategoryOf(std::string_view loose) {
  for (const std::string_view category : kCategories) {
    if (LooseName(category) == loose) return category;
  }
  for (const LongName& row : kLongNames) {
    if (row.name == loose) return row.category;
  }
  return {};
}

absl::StatusOr<RegexSet> NamedSet(std::string_view name, bool posix_bracket) {
  const std::string loose = LooseName(name);
  if (loose == "punct") {
    return posix_bracket ? FromCategories({"P", "S"}) : FromCategories({"P"});
  }
  if (const std::string_view category = CategoryOf(loose); !category.empty()) {
    if (category == "Cn" || category == "C") return FromSet(CategorySet(category));
    return FromCategories({category});
  }
  if (loose == "any") return RangeSet(0, 0x10FFFF);
  if (loose == "assigned") return FromSet(icu::UnicodeSet(CategorySet("Cn")).complement());
  if (loose == "ascii") return RangeSet(0, 0x7F);
  if (loose == "space" || loose == "whitespace") return SpaceSet();
  if (loose == "word") return WordSet(false);
  if (loose == "xdigit") return EscapeSet('h', true);
  if (loose == "upper" || loose == "uppercase") return Binary(UCHAR_UPPERCASE);
  if (loose == "lower" || loose == "lowercase") return Binary(UCHAR_LOWERCASE);
  if (loose == "graph") return FromCategories({"L", "M", "N", "P", "S", "Cf", "Co"});
  if (loose == "print") return FromCategories({"L", "M", "N", "P", "S", "Cf", "Co", "Zs"});
  if (loose == "alpha" || loose == "alphabetic" || loose == "alnum") {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet marks;
    marks.applyIntPropertyValue(UCHAR_ALPHABETIC, 1, status).retainAll(CategorySet("M"));
    RegexSet set = FromCategories({"L", "Nl"});
    set.Add(LetterSymbols());
    if (loose == "alnum") set.Add(FromCategories({"Nd"}));
    set.Add(RegexSet{marks, Ranges(marks)});
    return set;
  }
  if (loose == "blank") {
    RegexSet set = FromCategories({"Zs"});
    set.Add(RangeSet(0x09, 0x09));
    return set;
  }
  // Scripts and binary properties by ICU's names. Oniguruma's \p{Han} is the script itself, not its
  // extensions.
  const std::string wanted(name);
  const int32_t script = u_getPropertyValueEnum(UCHAR_SCRIPT, wanted.c_str());
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet set;
  if (script != UCHAR_INVALID_CODE) {
    set.applyIntPropertyValue(UCHAR_SCRIPT, script, status);
    return FromSet(std::move(set));
  }
  const UProperty property = u_getPropertyEnum(wanted.c_str());
  if (property >= UCHAR_BINARY_START && property < UCHAR_BINARY_LIMIT) return Binary(property);
  return InvalidArgument("unknown character property ", Quoted(name));
}

}  // namespace

void RegexSet::Add(const RegexSet& other) {
  const bool both =
      (!symbolic.empty() || set.isEmpty()) && (!other.symbolic.empty() || other.set.isEmpty());
  set.addAll(other.set);
  symbolic = both ? symbolic + other.symbolic : std::string();
}

std::string RegexSet::ToClass(bool negated) const {
  if (set.isEmpty()) return negated ? "(?s:.)" : "(?!)";
  return Cat(negated ? "[^" : "[", symbolic.empty() ? Ranges(set) : symbolic, "]");
}

RegexSet RangeSet(char32_t first, char32_t last) {
  return FromSet(icu::UnicodeSet(static_cast<UChar32>(first), static_cast<UChar32>(last)));
}

RegexSet EscapeSet(char letter, bool in_class) {
  RegexSet set;
  switch (std::tolower(static_cast<unsigned char>(letter))) {
    case 's':
      set = SpaceSet();
      break;
    case 'w':
      set = WordSet(!in_class);
      break;
    case 'd':
      set = FromCategories({"Nd"});
      break;
    default:  // h
      set = RangeSet('0', '9');
      set.Add(RangeSet('A', 'F'));
      set.Add(RangeSet('a', 'f'));
  }
  return letter < 'a' ? Negate(std::move(set)) : set;
}

absl::StatusOr<RegexSet> PropertySet(std::string_view name, bool negated, bool posix_bracket) {
  if (name.starts_with('^')) {
    name.remove_prefix(1);
    negated = !negated;
  }
  SL_ASSIGN_OR_RETURN(RegexSet set, NamedSet(name, posix_bracket));
  return negated ? Negate(std::move(set)) : set;
}

absl::StatusOr<char32_t> ParseCharacterEscape(std::string_view pattern, size_t* at) {
  const char letter = pattern[*at];
  const auto hex = [&](size_t begin, size_t max_digits, size_t* length) {
    uint32_t value = 0;
    const char* first = pattern.data() + begin;
    const size_t room = std::min(max_digits, pattern.size() - begin);
    const auto end = std::from_chars(first, first + room, value, 16).ptr;
    *length = static_cast<size_t>(end - first);
    return value;
  };
  const auto simple = [&](char32_t c) {
    *at += 1;
    return c;
  };
  switch (letter) {
    case 't':
      return simple('\t');
    case 'n':
      return simple('\n');
    case 'v':
      return simple('\v');
    case 'f':
      return simple('\f');
    case 'r':
      return simple('\r');
    case 'a':
      return simple('\a');
    case 'e':
      return simple(0x1B);
    case 'x':
    case 'u': {
      const bool braces = letter == 'x' && *at + 1 < pattern.size() && pattern[*at + 1] == '{';
      size_t length = 0;
      const size_t begin = *at + (braces ? 2 : 1);
      const uint32_t value = hex(std::min(begin, pattern.size()),
                                 braces          ? 8
                                 : letter == 'x' ? 2
                                                 : 4,
                                 &length);
      size_t end = begin + length;
      if (braces) {
        if (end >= pattern.size() || pattern[end] != '}') length = 0;
        ++end;
      }
      const bool raw_byte = letter == 'x' && !braces && value >= 0x80;
      if (length == 0 || raw_byte || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) ||
          (letter == 'u' && length != 4)) {
        return InvalidArgument("escape \\", letter, " at byte ", *at, " is not a character");
      }
      *at = end;
      return value;
    }
    default:
      break;
  }
  if (letter >= '0' && letter <= '7') {
    uint32_t value = 0;
    size_t i = *at;
    for (; i < pattern.size() && i < *at + 3 && pattern[i] >= '0' && pattern[i] <= '7'; ++i) {
      value = value * 8 + static_cast<uint32_t>(pattern[i] - '0');
    }
    if (value >= 0x80) return InvalidArgument("octal escape at byte ", *at, " is not a character");
    *at = i;
    return value;
  }
  if (letter == 'c' || letter == 'C' || letter == 'M' || letter == 'p' || letter == 'P') {
    return InvalidArgument("escape \\", letter, " at byte ", *at, " is not supported");
  }
  return NextCharacter(pattern, at);  // an escaped literal
}

absl::StatusOr<RegexSet> ParseClass(std::string_view pattern, size_t* at, int depth,
                                    bool* negated) {
  if (depth > kMaxClassDepth) return InvalidArgument("character classes nested too deeply");
  size_t i = *at;
  *negated = i < pattern.size() && pattern[i] == '^';
  if (*negated) ++i;
  RegexSet set;                         // of the part behind the last &&
  std::optional<icu::UnicodeSet> meet;  // of the parts before it
  bool first = true, closed = false;
  int64_t last = -1;  // a single character that may begin a range
  while (i < pattern.size()) {
    const char c = pattern[i];
    if (c == ']' && !first) {
      closed = true;
      ++i;
      break;
    }
    first = false;
    if (c == '[') {
      last = -1;
      const size_t end = pattern.find(":]", i);
      if (pattern.substr(i).starts_with("[:") && end != std::string_view::npos && end - i < 24 &&
          pattern.substr(i + 2, end - i - 2).find_first_of("[]") == std::string_view::npos) {
        SL_ASSIGN_OR_RETURN(RegexSet named,
                            PropertySet(pattern.substr(i + 2, end - i - 2), false, true));
        set.Add(named);
        i = end + 2;
        continue;
      }
      bool inner_negated = false;
      ++i;
      SL_ASSIGN_OR_RETURN(RegexSet inner, ParseClass(pattern, &i, depth + 1, &inner_negated));
      set.Add(inner_negated ? Negate(std::move(inner)) : inner);
      continue;
    }
    if (pattern.substr(i).starts_with("&&")) {
      last = -1;
      meet = meet ? icu::UnicodeSet(*meet).retainAll(set.set) : set.set;
      set = RegexSet();
      i += 2;
      continue;
    }
    char32_t character = 0;
    if (c == '\\') {
      if (++i >= pattern.size()) break;
      const char letter = pattern[i];
      if (std::string_view("swdhSWDH").find(letter) != std::string_view::npos) {
        set.Add(EscapeSet(letter, true));
        last = -1;
        ++i;
        continue;
      }
      if ((letter == 'p' || letter == 'P') && i + 1 < pattern.size() && pattern[i + 1] == '{') {
        const size_t end = pattern.find('}', i);
        if (end == std::string_view::npos) break;
        SL_ASSIGN_OR_RETURN(RegexSet named,
                            PropertySet(pattern.substr(i + 2, end - i - 2), letter == 'P', false));
        set.Add(named);
        last = -1;
        i = end + 1;
        continue;
      }
      if (letter == 'b') {
        character = '\b';
        ++i;
      } else {
        SL_ASSIGN_OR_RETURN(character, ParseCharacterEscape(pattern, &i));
      }
    } else {
      character = NextCharacter(pattern, &i);
    }
    // a-z: the minus is literal at either end and behind a set.
    if (c == '-' && last >= 0 && i < pattern.size() && pattern[i] != ']') {
      if (pattern[i] == '[' || pattern.substr(i).starts_with("&&")) {
        set.Add(RangeSet('-', '-'));
        last = -1;
        continue;
      }
      char32_t end = 0;
      if (pattern[i] == '\\') {
        const char letter = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
        if (letter != '\0' &&
            std::string_view("swdhSWDHpP").find(letter) != std::string_view::npos) {
          set.Add(RangeSet('-', '-'));
          last = -1;
          continue;
        }
        if (++i >= pattern.size()) break;
        SL_ASSIGN_OR_RETURN(end, ParseCharacterEscape(pattern, &i));
      } else {
        end = NextCharacter(pattern, &i);
      }
      if (end < static_cast<char32_t>(last))
        return InvalidArgument("empty range in a character class");
      set.Add(RangeSet(static_cast<char32_t>(last), end));
      last = -1;
      continue;
    }
    set.Add(RangeSet(character, character));
    last = character;
  }
  if (!closed) return InvalidArgument("character class without ']'");
  *at = i;
  if (meet) return FromSet(std::move(icu::UnicodeSet(*meet).retainAll(set.set)));
  return set;
}

}  // namespace shardline
