// The wordwrap filter: Python's textwrap.
#include <algorithm>

#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja::filters {

namespace {

// A line as code points, with where each begins in its bytes.
struct Line {
  explicit Line(std::string_view text) {
    for (size_t offset = 0; offset < text.size();) {
      offsets.push_back(offset);
      points.push_back(NextCodePoint(text, &offset));
    }
    offsets.push_back(text.size());
  }
  std::vector<char32_t> points;
  std::vector<size_t> offsets;
};

struct Chunk {
  size_t begin, end;  // code points of a line
  size_t size() const { return end - begin; }
};

// Cuts a line into words and blanks as Python's textwrap does.
class Chunker {
 public:
  Chunker(const Line& line, bool hyphens) : points_(line.points), hyphens_(hyphens) {}

  std::vector<Chunk> Run() const {
    std::vector<Chunk> chunks;
    for (size_t at = 0; at < points_.size();) {
      const size_t end = End(at);
      chunks.push_back({at, end});
      at = end;
    }
    return chunks;
  }

 private:
  static bool IsBlank(char32_t c) { return c == ' ' || (c >= 9 && c <= 13); }
  static bool IsWord(char32_t c) {
    return c == '_' || IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c);
  }
  static bool IsLetter(char32_t c) { return IsWord(c) && !IsDecimal(c); }
  static bool IsWordPunctuation(char32_t c) {
    return IsWord(c) || c == '!' || c == '"' || c == '\'' || c == '&' || c == '.' || c == ',' ||
           c == '?';
  }
  bool At(size_t i, bool (*is)(char32_t)) const { return i < points_.size() && is(points_[i]); }
  bool Hyphen(size_t i) const { return i < points_.size() && points_[i] == '-'; }

  // The end of two or more hyphens at `at` that a word character follows; `at`: there are none.
  size_t EndOfDash(size_t at) const {
    size_t end = at;
    while (Hyphen(end)) ++end;
    return end - at >= 2 && At(end, IsWord) ? end : at;
  }

  size_t End(size_t begin) const {
    if (IsBlank(points_[begin])) {
      size_t end = begin;
      while (At(end, IsBlank)) ++end;
      return end;
    }
    if (!hyphens_) {
      size_t end = begin;
      while (end < points_.size() && !IsBlank(points_[end])) ++end;
      return end;
    }
    if (begin > 0 && IsWordPunctuation(points_[begin - 1]) && EndOfDash(begin) > begin) {
      return EndOfDash(begin);
    }
    for (size_t end = begin + 1;; ++end) {
      // After the characters [begin, end): a hyphen within a word, the word's end, or a dash.
      if (Hyphen(end) && BreaksAfterHyphen(end)) return end + 1;
      if (end >= points_.size() || IsBlank(points_[end])) return end;
      if (IsWordPunctuation(points_[end - 1]) && EndOfDash(end) > end) return end;
    }
  }

  bool BreaksAfterHyphen(size_t hyphen) const {
    const bool two_letters =
        hyphen >= 2 && IsLetter(points_[hyphen - 1]) && IsLetter(points_[hyphen - 2]);
    const bool letter_hyphen = hyphen >= 3 && IsWordPunctuation(points_[hyphen - 1]) &&
                               Hyphen(hyphen - 2) && IsLetter(points_[hyphen - 3]);
    if (!two_letters && !letter_hyphen) return false;
    const size_t next = hyphen + 1;
    if (!At(next, IsLetter)) return false;
    return At(next + 1, IsLetter) || (Hyphen(next + 1) && At(next + 2, IsLetter));
  }

  const std::vector<char32_t>& points_;
  const bool hyphens_;
};

class Wrapper {
 public:
  Wrapper(size_t width, bool break_words, bool hyphens)
      : width_(width), break_words_(break_words), hyphens_(hyphens) {}

  std::vector<Value> Wrap(const Value& text) const {
    const Line line(text.text());
    std::vector<Chunk> chunks = Chunker(line, hyphens_).Run();
    std::reverse(chunks.begin(), chunks.end());
    std::vector<Value> lines;
    const auto blank = [&](const Chunk& chunk) {
      return std::all_of(line.points.begin() + static_cast<ptrdiff_t>(chunk.begin),
                         line.points.begin() + static_cast<ptrdiff_t>(chunk.end), IsSpace);
    };
    while (!chunks.empty()) {
      Step();
      std::vector<Chunk> current;
      size_t length = 0;
      if (!lines.empty() && blank(chunks.back())) chunks.pop_back();
      while (!chunks.empty() && length + chunks.back().size() <= width_) {
        length += chunks.back().size();
        current.push_back(chunks.back());
        chunks.pop_back();
      }
      if (!chunks.empty() && chunks.back().size() > width_) {
        PlaceLongWord(line, &chunks, &current, width_ - length);
      }
      if (!current.empty() && blank(current.back())) current.pop_back();
      if (current.empty()) continue;
      lines.push_back(Substring(text.string(), line.offsets[current.front().begin],
                                line.offsets[current.back().end]));
    }
    return lines;
  }

 private:
  void PlaceLongWord(const Line& line, std::vector<Chunk>* chunks, std::vector<Chunk>* current,
                     size_t space) const {
    Chunk& word = chunks->back();
    if (!break_words_) {
      if (current->empty()) {
        current->push_back(word);
        chunks->pop_back();
      }
      return;
    }
    size_t end = word.begin + space;
    if (hyphens_) {
      for (size_t hyphen = end; hyphen-- > word.begin + 1;) {
        if (line.points[hyphen] != '-') continue;
        const bool only_hyphens =
            std::all_of(line.points.begin() + static_cast<ptrdiff_t>(word.begin),
                        line.points.begin() + static_cast<ptrdiff_t>(hyphen),
                        [](char32_t c) { return c == '-'; });
        if (!only_hyphens) end = hyphen + 1;
        break;
      }
    }
    current->push_back({word.begin, end});
    word.begin = end;
  }

  const size_t width_;
  const bool break_words_;
  const bool hyphens_;
};

}  // namespace

Value Wordwrap(CallFrame& call) {
  const bool break_words = !call.has(2) || Truth(call[2]);
  const bool hyphens = !call.has(4) || Truth(call[4]);
  const Value glue = call.given(3) ? call[3] : Value("\n");
  if (!call[0].is_string()) {
    if (call[0].is_undefined()) FailUndefined(call[0]);
    RuntimeError("'", TypeName(call[0]), "' object has no attribute 'splitlines'");
  }
  if (!glue.is_string()) RuntimeError("'", TypeName(glue), "' object has no attribute 'join'");
  std::vector<Value> paragraphs;
  for (const Value& line : SplitLines(call[0], false)) {
    const int64_t width = call.has(1) ? ToIndex64(call[1]) : 79;
    if (width <= 0) ValueError("invalid width ", width, " (must be > 0)");
    const Wrapper wrapper(static_cast<size_t>(width), break_words, hyphens);
    paragraphs.push_back(JoinText(glue, wrapper.Wrap(line)));
  }
  return JoinText(glue, paragraphs);
}

}  // namespace shardline::jinja::filters
