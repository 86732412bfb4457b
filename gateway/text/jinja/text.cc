#include "gateway/text/jinja/text.h"

#include <algorithm>

namespace shardline::jinja {

void TextBuilder::Mark(size_t begin, size_t end) {
  if (begin >= end) return;
  if (!marks_.empty() && marks_.back().end == begin) {
    marks_.back().end = end;
  } else {
    marks_.push_back({begin, end});
  }
}

void TextBuilder::Append(std::string_view text) {
  CheckTextSize(text_.size() + text.size());
  StepBytes(text.size());
  text_.append(text);
}

void TextBuilder::AppendInput(std::string_view text, bool marked) {
  const size_t begin = text_.size();
  Append(text);
  if (marked) Mark(begin, text_.size());
}

void TextBuilder::Append(const StringObject& string) { Append(string, 0, string.text.size()); }

void TextBuilder::Append(const StringObject& string, size_t begin, size_t end) {
  const size_t offset = text_.size();
  Append(std::string_view(string.text).substr(begin, end - begin));
  if (string.marks.empty()) return;
  auto mark = std::upper_bound(string.marks.begin(), string.marks.end(), begin,
                               [](size_t at, const Range& range) { return at < range.end; });
  for (; mark != string.marks.end() && mark->begin < end; ++mark) {
    Mark(offset + std::max(mark->begin, begin) - begin, offset + std::min(mark->end, end) - begin);
  }
}

void TextBuilder::AppendRepeated(std::string_view text, size_t count) {
  if (text.empty() || count == 0) return;
  const size_t limit = CurrentBudget().max_text_bytes;
  if (count > limit / text.size()) CheckTextSize(limit + 1);
  CheckTextSize(text_.size() + text.size() * count);
  StepBytes(text.size() * count);
  for (size_t i = 0; i < count; ++i) text_.append(text);
}

Value TextBuilder::Build(bool markup) {
  return MakeString(std::move(text_), std::move(marks_), markup);
}

Value Substring(const StringObject& string, size_t begin, size_t end) {
  if (string.marks.empty()) {
    return MakeString(string.text.substr(begin, end - begin), {}, string.markup);
  }
  TextBuilder builder;
  builder.Append(string, begin, end);
  return builder.Build(string.markup);
}

Value WhollyMarked(std::string text, bool marked, bool markup) {
  Marks marks;
  if (marked && !text.empty()) marks.push_back({0, text.size()});
  return MakeString(std::move(text), std::move(marks), markup);
}

Value EscapeHtml(const Value& value) {
  const StringObject& string = value.string();
  if (string.markup) return value;
  TextBuilder builder;
  size_t kept = 0;
  for (size_t i = 0; i < string.text.size(); ++i) {
    const char* entity = nullptr;
    switch (string.text[i]) {
      case '&':
        entity = "&amp;";
        break;
      case '<':
        entity = "&lt;";
        break;
      case '>':
        entity = "&gt;";
        break;
      case '\'':
        entity = "&#39;";
        break;
      case '"':
        entity = "&#34;";
        break;
      default:
        continue;
    }
    builder.Append(string, kept, i);
    builder.Append(entity);
    kept = i + 1;
  }
  builder.Append(string, kept, string.text.size());
  return builder.Build(true);
}

}  // namespace shardline::jinja
