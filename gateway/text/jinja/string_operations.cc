// The operations behind the str methods that filters use too.
#include <algorithm>

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

// Applies a case mapping. Where it may change lengths, input and the template's own text are mapped
// piece by piece, so that the marks stay true.
template <typename Mapping>
Value MapCase(const StringObject& string, Mapping mapping) {
  if (string.ascii) return MakeString(mapping(string.text), string.marks, string.markup);
  TextBuilder builder;
  size_t at = 0;
  const std::string_view text(string.text);
  for (const Range& mark : string.marks) {
    builder.Append(mapping(text.substr(at, mark.begin - at)));
    builder.AppendInput(mapping(text.substr(mark.begin, mark.end - mark.begin)), true);
    at = mark.end;
  }
  builder.Append(mapping(text.substr(at)));
  return builder.Build(string.markup);
}

}  // namespace

bool IsLowerText(std::string_view text) {
  Step(text.size() / 8);
  bool cased = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = NextCodePoint(text, &offset);
    if (IsUpper(c) || IsTitle(c)) return false;
    cased = cased || IsLower(c);
  }
  return cased;
}

bool IsUpperText(std::string_view text) {
  Step(text.size() / 8);
  bool cased = false;
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = NextCodePoint(text, &offset);
    if (IsLower(c) || IsTitle(c)) return false;
    cased = cased || IsUpper(c);
  }
  return cased;
}

Value UpperText(const Value& string) { return MapCase(string.string(), ToUpper); }
Value LowerText(const Value& string) { return MapCase(string.string(), ToLower); }

Value CapitalizeText(const Value& value) {
  const StringObject& string = value.string();
  if (string.text.empty()) return value;
  const size_t width = CodePointWidth(string.text, 0);
  size_t offset = 0;
  const char32_t first = NextCodePoint(string.text, &offset);
  TextBuilder builder;
  const bool marked = !string.marks.empty() && string.marks[0].begin == 0;
  builder.AppendInput(ToTitle(first), marked);
  const Value rest = LowerText(Substring(string, width, string.text.size()));
  builder.Append(rest);
  return builder.Build(string.markup);
}

Value StripText(const Value& value, const Value* chars, bool left, bool right) {
  const StringObject& string = value.string();
  const std::string_view text(string.text);
  size_t begin = 0, end = text.size();
  if (chars == nullptr) {
    if (left) begin = SkipSpace(text, 0);
    if (right) end = std::max(begin, SkipSpaceBackwards(text, end));
  } else {
    const std::string_view set = chars->text();
    const auto in_set = [&](size_t at, size_t width) {
      StepBytes(set.size());
      for (size_t offset = 0; offset < set.size(); offset += CodePointWidth(set, offset)) {
        if (set.substr(offset, CodePointWidth(set, offset)) == text.substr(at, width)) return true;
      }
      return false;
    };
    while (left && begin < end && in_set(begin, CodePointWidth(text, begin))) {
      begin += CodePointWidth(text, begin);
    }
    while (right && end > begin) {
      size_t last = end - 1;
      while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
      if (!in_set(last, end - last)) break;
      end = last;
    }
  }
  if (begin == 0 && end == text.size()) return value;
  return Substring(string, begin, end);
}

Value ReplaceText(const Value& value, const Value& old_value, const Value& new_value,
                  int64_t count) {
  const StringObject& string = value.string();
  const std::string_view text(string.text);
  const std::string_view old_text = old_value.text();
  const Value inserted = string.markup ? EscapeHtml(new_value) : new_value;
  TextBuilder builder;
  size_t at = 0;
  StepBytes(text.size());
  if (old_text.empty()) {
    while (count != 0) {
      builder.Append(inserted);
      if (count > 0) --count;
      if (at >= text.size()) break;
      const size_t width = CodePointWidth(text, at);
      builder.Append(string, at, at + width);
      at += width;
    }
    builder.Append(string, at, text.size());
    return builder.Build(string.markup);
  }
  while (count != 0) {
    const size_t found = FindText(text, old_text, at);
    if (found == std::string_view::npos) break;
    builder.Append(string, at, found);
    builder.Append(inserted);
    at = found + old_text.size();
    if (count > 0) --count;
    Step();
  }
  if (at == 0) return value;
  builder.Append(string, at, text.size());
  return builder.Build(string.markup);
}

Value CenterText(const Value& value, int64_t width, std::string_view fill) {
  const auto size = static_cast<int64_t>(Length(value));
  if (width <= size) return value;
  const int64_t padding = width - size;
  const int64_t left = padding / 2 + (padding & width & 1);
  TextBuilder builder;
  builder.AppendRepeated(fill, static_cast<size_t>(left));
  builder.Append(value);
  builder.AppendRepeated(fill, static_cast<size_t>(padding - left));
  return builder.Build(value.string().markup);
}

Value JoinText(const Value& separator, const std::vector<Value>& strings) {
  const bool markup = separator.string().markup;
  TextBuilder builder;
  for (size_t i = 0; i < strings.size(); ++i) {
    if (!strings[i].is_string()) {
      TypeError("sequence item ", i, ": expected str instance, ", TypeName(strings[i]), " found");
    }
    if (i > 0) builder.Append(separator);
    builder.Append(markup ? EscapeHtml(strings[i]) : strings[i]);
  }
  return builder.Build(markup);
}

namespace {

std::vector<Value> SplitAtSpace(const StringObject& string, int64_t count, bool from_right) {
  const std::string_view text(string.text);
  std::vector<Value> parts;
  if (!from_right) {
    size_t at = SkipSpace(text, 0);
    while (at < text.size()) {
      if (count == 0) {
        parts.push_back(Substring(string, at, text.size()));
        break;
      }
      size_t end = at;
      while (end < text.size() && SkipSpace(text, end) == end) end += CodePointWidth(text, end);
      parts.push_back(Substring(string, at, end));
      at = SkipSpace(text, end);
      --count;
    }
    return parts;
  }
  size_t end = SkipSpaceBackwards(text, text.size());
  while (end > 0) {
    if (count == 0) {
      parts.push_back(Substring(string, 0, end));
      break;
    }
    size_t begin = end;
    while (begin > 0 && SkipSpaceBackwards(text, begin) == begin) {
      do {
        --begin;
      } while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80);
    }
    parts.push_back(Substring(string, begin, end));
    end = SkipSpaceBackwards(text, begin);
    --count;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

std::vector<Value> SplitText(const Value& value, const Value* separator, int64_t count,
                             bool from_right) {
  const StringObject& string = value.string();
  const std::string_view text(string.text);
  StepBytes(text.size());
  if (separator == nullptr) return SplitAtSpace(string, count, from_right);
  const std::string_view mark = separator->text();
  if (mark.empty()) ValueError("empty separator");
  std::vector<Value> parts;
  if (!from_right) {
    size_t at = 0;
    for (; count != 0; --count) {
      const size_t found = FindText(text, mark, at);
      if (found == std::string_view::npos) break;
      parts.push_back(Substring(string, at, found));
      at = found + mark.size();
      Step();
    }
    parts.push_back(Substring(string, at, text.size()));
    return parts;
  }
  size_t end = text.size();
  for (; count != 0 && end >= mark.size(); --count) {
    const size_t found = FindLastText(text, mark, end - mark.size());
    if (found == std::string_view::npos) break;
    parts.push_back(Substring(string, found + mark.size(), end));
    end = found;
    Step();
  }
  parts.push_back(Substring(string, 0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Value> SplitLines(const Value& value, bool keep_ends) {
  const StringObject& string = value.string();
  const std::string_view text(string.text);
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t next = at;
    const char32_t c = NextCodePoint(text, &next);
    if (IsLineBreak(c)) {
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(Substring(string, begin, keep_ends ? next : at));
      Step();
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.push_back(Substring(string, begin, text.size()));
  return lines;
}

}  // namespace shardline::jinja
