#include "gateway/text/tokenizer/unicode_data.h"

#include <unicode/uchar.h>

#include <map>
#include <string>

#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr CategoryChange kChanges[] = {
    {0x897, 0x897, "Mn", "Cn"},     {0xCF3, 0xCF3, "Mc", "Cn"},     {0xECE, 0xECE, "Mn", "Cn"},
    {0x1B4E, 0x1B4F, "Po", "Cn"},   {0x1B7F, 0x1B7F, "Po", "Cn"},   {0x1C89, 0x1C89, "Lu", "Cn"},
    {0x1C8A, 0x1C8A, "Ll", "Cn"},   {0x2427, 0x2429, "So", "Cn"},   {0x2FFC, 0x2FFF, "So", "Cn"},
    {0x31E4, 0x31E5, "So", "Cn"},   {0x31EF, 0x31EF, "So", "Cn"},   {0xA7CB, 0xA7CC, "Lu", "Cn"},
    {0xA7CD, 0xA7CD, "Ll", "Cn"},   {0xA7DA, 0xA7DA, "Lu", "Cn"},   {0xA7DB, 0xA7DB, "Ll", "Cn"},
    {0xA7DC, 0xA7DC, "Lu", "Cn"},   {0x105C0, 0x105F3, "Lo", "Cn"}, {0x10D40, 0x10D49, "Nd", "Cn"},
    {0x10D4A, 0x10D4D, "Lo", "Cn"}, {0x10D4E, 0x10D4E, "Lm", "Cn"}, {0x10D4F, 0x10D4F, "Lo", "Cn"},
    {0x10D50, 0x10D65, "Lu", "Cn"}, {0x10D69, 0x10D6D, "Mn", "Cn"}, {0x10D6E, 0x10D6E, "Pd", "Cn"},
    {0x10D6F, 0x10D6F, "Lm", "Cn"}, {0x10D70, 0x10D85, "Ll", "Cn"}, {0x10D8E, 0x10D8F, "Sm", "Cn"},
    {0x10EC2, 0x10EC4, "Lo", "Cn"}, {0x10EFC, 0x10EFF, "Mn", "Cn"}, {0x1123F, 0x11240, "Lo", "Cn"},
    {0x11241, 0x11241, "Mn", "Cn"}, {0x11380, 0x11389, "Lo", "Cn"}, {0x1138B, 0x1138B, "Lo", "Cn"},
    {0x1138E, 0x1138E, "Lo", "Cn"}, {0x11390, 0x113B5, "Lo", "Cn"}, {0x113B7, 0x113B7, "Lo", "Cn"},
    {0x113B8, 0x113BA, "Mc", "Cn"}, {0x113BB, 0x113C0, "Mn", "Cn"}, {0x113C2, 0x113C2, "Mc", "Cn"},
    {0x113C5, 0x113C5, "Mc", "Cn"}, {0x113C7, 0x113CA, "Mc", "Cn"}, {0x113CC, 0x113CD, "Mc", "Cn"},
    {0x113CE, 0x113CE, "Mn", "Cn"}, {0x113CF, 0x113CF, "Mc", "Cn"}, {0x113D0, 0x113D0, "Mn", "Cn"},
    {0x113D1, 0x113D1, "Lo", "Cn"}, {0x113D2, 0x113D2, "Mn", "Cn"}, {0x113D3, 0x113D3, "Lo", "Cn"},
    {0x113D4, 0x113D5, "Po", "Cn"}, {0x113D7, 0x113D8, "Po", "Cn"}, {0x113E1, 0x113E2, "Mn", "Cn"},
    {0x116D0, 0x116E3, "Nd", "Cn"}, {0x1171E, 0x1171E, "Mc", "Mn"}, {0x11B00, 0x11B09, "Po", "Cn"},
    {0x11BC0, 0x11BE0, "Lo", "Cn"}, {0x11BE1, 0x11BE1, "Po", "Cn"}, {0x11BF0, 0x11BF9, "Nd", "Cn"},
    {0x11F00, 0x11F01, "Mn", "Cn"}, {0x11F02, 0x11F02, "Lo", "Cn"}, {0x11F03, 0x11F03, "Mc", "Cn"},
    {0x11F04, 0x11F10, "Lo", "Cn"}, {0x11F12, 0x11F33, "Lo", "Cn"}, {0x11F34, 0x11F35, "Mc", "Cn"},
    {0x11F36, 0x11F3A, "Mn", "Cn"}, {0x11F3E, 0x11F3F, "Mc", "Cn"}, {0x11F40, 0x11F40, "Mn", "Cn"},
    {0x11F41, 0x11F41, "Mc", "Cn"}, {0x11F42, 0x11F42, "Mn", "Cn"}, {0x11F43, 0x11F4F, "Po", "Cn"},
    {0x11F50, 0x11F59, "Nd", "Cn"}, {0x11F5A, 0x11F5A, "Mn", "Cn"}, {0x1342F, 0x1342F, "Lo", "Cn"},
    {0x13439, 0x1343F, "Cf", "Cn"}, {0x13440, 0x13440, "Mn", "Cn"}, {0x13441, 0x13446, "Lo", "Cn"},
    {0x13447, 0x13455, "Mn", "Cn"}, {0x13460, 0x143FA, "Lo", "Cn"}, {0x16100, 0x1611D, "Lo", "Cn"},
    {0x1611E, 0x16129, "Mn", "Cn"}, {0x1612A, 0x1612C, "Mc", "Cn"}, {0x1612D, 0x1612F, "Mn", "Cn"},
    {0x16130, 0x16139, "Nd", "Cn"}, {0x16D40, 0x16D42, "Lm", "Cn"}, {0x16D43, 0x16D6A, "Lo", "Cn"},
    {0x16D6B, 0x16D6C, "Lm", "Cn"}, {0x16D6D, 0x16D6F, "Po", "Cn"}, {0x16D70, 0x16D79, "Nd", "Cn"},
    {0x18CFF, 0x18CFF, "Lo", "Cn"}, {0x1B132, 0x1B132, "Lo", "Cn"}, {0x1B155, 0x1B155, "Lo", "Cn"},
    {0x1CC00, 0x1CCEF, "So", "Cn"}, {0x1CCF0, 0x1CCF9, "Nd", "Cn"}, {0x1CD00, 0x1CEB3, "So", "Cn"},
    {0x1D2C0, 0x1D2D3, "No", "Cn"}, {0x1DF25, 0x1DF2A, "Ll", "Cn"}, {0x1E030, 0x1E06D, "Lm", "Cn"},
    {0x1E08F, 0x1E08F, "Mn", "Cn"}, {0x1E4D0, 0x1E4EA, "Lo", "Cn"}, {0x1E4EB, 0x1E4EB, "Lm", "Cn"},
    {0x1E4EC, 0x1E4EF, "Mn", "Cn"}, {0x1E4F0, 0x1E4F9, "Nd", "Cn"}, {0x1E5D0, 0x1E5ED, "Lo", "Cn"},
    {0x1E5EE, 0x1E5EF, "Mn", "Cn"}, {0x1E5F0, 0x1E5F0, "Lo", "Cn"}, {0x1E5F1, 0x1E5FA, "Nd", "Cn"},
    {0x1E5FF, 0x1E5FF, "Po", "Cn"}, {0x1F6DC, 0x1F6DC, "So", "Cn"}, {0x1F774, 0x1F776, "So", "Cn"},
    {0x1F77B, 0x1F77F, "So", "Cn"}, {0x1F7D9, 0x1F7D9, "So", "Cn"}, {0x1F8B2, 0x1F8BB, "So", "Cn"},
    {0x1F8C0, 0x1F8C1, "So", "Cn"}, {0x1FA75, 0x1FA77, "So", "Cn"}, {0x1FA87, 0x1FA89, "So", "Cn"},
    {0x1FA8F, 0x1FA8F, "So", "Cn"}, {0x1FAAD, 0x1FAAF, "So", "Cn"}, {0x1FABB, 0x1FABF, "So", "Cn"},
    {0x1FAC6, 0x1FAC6, "So", "Cn"}, {0x1FACE, 0x1FACF, "So", "Cn"}, {0x1FADA, 0x1FADC, "So", "Cn"},
    {0x1FADF, 0x1FADF, "So", "Cn"}, {0x1FAE8, 0x1FAE9, "So", "Cn"}, {0x1FAF7, 0x1FAF8, "So", "Cn"},
    {0x1FBCB, 0x1FBEF, "So", "Cn"}, {0x2B739, 0x2B739, "Lo", "Cn"}, {0x2EBF0, 0x2EE5D, "Lo", "Cn"},
    {0x31350, 0x323AF, "Lo", "Cn"},
};

icu::UnicodeSet Pattern(const char* pattern) {
  UErrorCode status = U_ZERO_ERROR;
  return icu::UnicodeSet(icu::UnicodeString::fromUTF8(pattern), status);
}

icu::UnicodeSet BuildCategory(const std::string& category) {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet set;
  for (int c = 0; c < U_CHAR_CATEGORY_COUNT; ++c) {
    static constexpr const char* kNames[] = {
        "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp",
        "Cc", "Cf", "Co", "Cs", "Pd", "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf"};
    if (!std::string_view(kNames[c]).starts_with(category) || std::string_view(kNames[c]) == "Cs")
      continue;
    icu::UnicodeSet one;
    one.applyIntPropertyValue(UCHAR_GENERAL_CATEGORY_MASK, 1 << c, status);
    set.addAll(one);
  }
  for (const CategoryChange& change : kChanges) {
    set.remove(change.first, change.last);
    if (std::string_view(change.category).starts_with(category)) set.add(change.first, change.last);
  }
  return set;  // not frozen: copies of a frozen set could not be changed
}

}  // namespace

std::span<const CategoryChange> CategoryChanges() { return kChanges; }

const icu::UnicodeSet& CategorySet(std::string_view category) {
  static const std::map<std::string, icu::UnicodeSet, std::less<>> sets = [] {
    std::map<std::string, icu::UnicodeSet, std::less<>> all;
    for (const char* name :
         {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
          "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
          "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn"}) {
      all.emplace(name, BuildCategory(name));
    }
    return all;
  }();
  static const icu::UnicodeSet none;
  const auto found = sets.find(category);
  return found == sets.end() ? none : found->second;
}

bool IsWhitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  static const icu::UnicodeSet set = [] {
    icu::UnicodeSet all(CategorySet("N"));
    all.freeze();
    return all;
  }();
  return set.contains(static_cast<UChar32>(c));
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  // The reference's table is Unicode 8's.
  static const icu::UnicodeSet set = [] {
    icu::UnicodeSet all(CategorySet("P"));
    all.retainAll(Pattern("[:Age=8.0:]")).add(0x166D).add(0x111C9);
    all.freeze();
    return all;
  }();
  return set.contains(static_cast<UChar32>(c));
}

bool IsCombiningMark(char32_t c) {
  if (c < 0x300) return false;
  // The reference's table is Unicode 9's.
  static const icu::UnicodeSet set = [] {
    icu::UnicodeSet all(CategorySet("M"));
    all.retainAll(Pattern("[:Age=9.0:]")).remove(0x111C9).add(0x1CF2, 0x1CF3);
    all.freeze();
    return all;
  }();
  return set.contains(static_cast<UChar32>(c));
}

bool IsWordCharacter(char32_t c) {
  if (c < 0x80)
    return c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
  static const icu::UnicodeSet set = [] {
    icu::UnicodeSet all(CategorySet("L"));
    for (const char* name : {"M", "Nd", "Nl", "Pc"}) all.addAll(CategorySet(name));
    all.add(0x24B6, 0x24E9).add(0x1F130, 0x1F149).add(0x1F150, 0x1F169).add(0x1F170, 0x1F189);
    all.add(0x200C, 0x200D);
    all.freeze();
    return all;
  }();
  return set.contains(static_cast<UChar32>(c));
}

char32_t ToLower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;  // Garay, Unicode 16
  switch (c) {
    case 0x1C89:
      return 0x1C8A;
    case 0xA7CB:
      return 0x264;
    case 0xA7CC:
      return 0xA7CD;
    case 0xA7DA:
      return 0xA7DB;
    case 0xA7DC:
      return 0x19B;
    default:
      return static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
  }
}

}  // namespace shardline
