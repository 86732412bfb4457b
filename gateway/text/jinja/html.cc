#include "gateway/text/jinja/html.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

// The entities of HTML that text is likely to hold; others stay as they are.
constexpr std::pair<std::string_view, char32_t> kEntities[] = {
    {"amp", '&'},       {"lt", '<'},        {"gt", '>'},       {"quot", '"'},
    {"apos", '\''},     {"nbsp", 0xA0},     {"iexcl", 0xA1},   {"cent", 0xA2},
    {"pound", 0xA3},    {"curren", 0xA4},   {"yen", 0xA5},     {"brvbar", 0xA6},
    {"sect", 0xA7},     {"uml", 0xA8},      {"copy", 0xA9},    {"ordf", 0xAA},
    {"laquo", 0xAB},    {"not", 0xAC},      {"shy", 0xAD},     {"reg", 0xAE},
    {"macr", 0xAF},     {"deg", 0xB0},      {"plusmn", 0xB1},  {"sup2", 0xB2},
    {"sup3", 0xB3},     {"acute", 0xB4},    {"micro", 0xB5},   {"para", 0xB6},
    {"middot", 0xB7},   {"cedil", 0xB8},    {"sup1", 0xB9},    {"ordm", 0xBA},
    {"raquo", 0xBB},    {"frac14", 0xBC},   {"frac12", 0xBD},  {"frac34", 0xBE},
    {"iquest", 0xBF},   {"Agrave", 0xC0},   {"Aacute", 0xC1},  {"Acirc", 0xC2},
    {"Atilde", 0xC3},   {"Auml", 0xC4},     {"Aring", 0xC5},   {"AElig", 0xC6},
    {"Ccedil", 0xC7},   {"Egrave", 0xC8},   {"Eacute", 0xC9},  {"Ecirc", 0xCA},
    {"Euml", 0xCB},     {"Igrave", 0xCC},   {"Iacute", 0xCD},  {"Icirc", 0xCE},
    {"Iuml", 0xCF},     {"ETH", 0xD0},      {"Ntilde", 0xD1},  {"Ograve", 0xD2},
    {"Oacute", 0xD3},   {"Ocirc", 0xD4},    {"Otilde", 0xD5},  {"Ouml", 0xD6},
    {"times", 0xD7},    {"Oslash", 0xD8},   {"Ugrave", 0xD9},  {"Uacute", 0xDA},
    {"Ucirc", 0xDB},    {"Uuml", 0xDC},     {"Yacute", 0xDD},  {"THORN", 0xDE},
    {"szlig", 0xDF},    {"agrave", 0xE0},   {"aacute", 0xE1},  {"acirc", 0xE2},
    {"atilde", 0xE3},   {"auml", 0xE4},     {"aring", 0xE5},   {"aelig", 0xE6},
    {"ccedil", 0xE7},   {"egrave", 0xE8},   {"eacute", 0xE9},  {"ecirc", 0xEA},
    {"euml", 0xEB},     {"igrave", 0xEC},   {"iacute", 0xED},  {"icirc", 0xEE},
    {"iuml", 0xEF},     {"eth", 0xF0},      {"ntilde", 0xF1},  {"ograve", 0xF2},
    {"oacute", 0xF3},   {"ocirc", 0xF4},    {"otilde", 0xF5},  {"ouml", 0xF6},
    {"divide", 0xF7},   {"oslash", 0xF8},   {"ugrave", 0xF9},  {"uacute", 0xFA},
    {"ucirc", 0xFB},    {"uuml", 0xFC},     {"yacute", 0xFD},  {"thorn", 0xFE},
    {"yuml", 0xFF},     {"OElig", 0x152},   {"oelig", 0x153},  {"Scaron", 0x160},
    {"scaron", 0x161},  {"Yuml", 0x178},    {"fnof", 0x192},   {"circ", 0x2C6},
    {"tilde", 0x2DC},   {"ensp", 0x2002},   {"emsp", 0x2003},  {"thinsp", 0x2009},
    {"zwnj", 0x200C},   {"zwj", 0x200D},    {"lrm", 0x200E},   {"rlm", 0x200F},
    {"ndash", 0x2013},  {"mdash", 0x2014},  {"lsquo", 0x2018}, {"rsquo", 0x2019},
    {"sbquo", 0x201A},  {"ldquo", 0x201C},  {"rdquo", 0x201D}, {"bdquo", 0x201E},
    {"dagger", 0x2020}, {"Dagger", 0x2021}, {"bull", 0x2022},  {"hellip", 0x2026},
    {"permil", 0x2030}, {"prime", 0x2032},  {"Prime", 0x2033}, {"lsaquo", 0x2039},
    {"rsaquo", 0x203A}, {"oline", 0x203E},  {"frasl", 0x2044}, {"euro", 0x20AC},
    {"trade", 0x2122},  {"larr", 0x2190},   {"uarr", 0x2191},  {"rarr", 0x2192},
    {"darr", 0x2193},   {"harr", 0x2194},   {"infin", 0x221E}, {"ne", 0x2260},
    {"le", 0x2264},     {"ge", 0x2265},     {"alpha", 0x3B1},  {"beta", 0x3B2},
    {"gamma", 0x3B3},   {"delta", 0x3B4},   {"lambda", 0x3BB}, {"mu", 0x3BC},
    {"pi", 0x3C0},      {"sigma", 0x3C3},   {"omega", 0x3C9},
};

// The entity that begins at the '&' at `at`: appended to *out; returns where it ends (`at`: none).
size_t Entity(std::string_view text, size_t at, std::string* out) {
  size_t end = at + 1;
  if (end < text.size() && text[end] == '#') {
    ++end;
    const bool hex = end < text.size() && (text[end] | 32) == 'x';
    if (hex) ++end;
    uint32_t code = 0;
    const size_t digits = end;
    for (; end < text.size() && end - digits < 8; ++end) {
      const char c = text[end];
      const int digit = c >= '0' && c <= '9'                        ? c - '0'
                        : hex && (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                                    : -1;
      if (digit < 0) break;
      code = code * (hex ? 16 : 10) + static_cast<uint32_t>(digit);
    }
    if (end == digits) return at;
    const bool invalid = code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF);
    AppendCodePoint(out, invalid ? 0xFFFD : code);
    return end < text.size() && text[end] == ';' ? end + 1 : end;
  }
  while (end < text.size() && end - at < 10 &&
         (((text[end] | 32) >= 'a' && (text[end] | 32) <= 'z') ||
          (text[end] >= '0' && text[end] <= '9'))) {
    ++end;
  }
  if (end >= text.size() || text[end] != ';') return at;
  const std::string_view name = text.substr(at + 1, end - at - 1);
  const auto* row = std::find_if(std::begin(kEntities), std::end(kEntities),
                                 [&](const auto& entity) { return entity.first == name; });
  if (row == std::end(kEntities)) return at;
  AppendCodePoint(out, row->second);
  return end + 1;
}

}  // namespace

std::string StripTags(std::string_view html) {
  std::string text;
  size_t at = 0;
  while (true) {
    const size_t start = html.find('<', at);
    if (start == std::string_view::npos) break;
    const bool comment = html.substr(start, 4) == "<!--";
    const size_t end = comment ? html.find("-->", start + 4) : html.find('>', start);
    if (end == std::string_view::npos) break;
    text.append(html.substr(at, start - at));
    at = end + (comment ? 3 : 1);
  }
  text.append(html.substr(at));

  std::string collapsed;
  for (size_t i = SkipSpace(text, 0); i < text.size();) {
    const size_t next = SkipSpace(text, i);
    if (next > i) {
      if (next < text.size()) collapsed += ' ';
      i = next;
      continue;
    }
    const size_t width = CodePointWidth(text, i);
    collapsed.append(text, i, width);
    i += width;
  }

  std::string out;
  for (size_t i = 0; i < collapsed.size();) {
    const size_t end = collapsed[i] == '&' ? Entity(collapsed, i, &out) : i;
    if (end == i) {
      out += collapsed[i++];
    } else {
      i = end;
    }
  }
  return out;
}

}  // namespace shardline::jinja
