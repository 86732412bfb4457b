// The filters that lay out text: wordwrap, pprint and urlize.
#include <unicode/regex.h>

#include <algorithm>
#include <set>

#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/interpreter.h"
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

namespace {

// Python's pprint.pformat with its default settings.
class PrettyPrinter {
 public:
  std::string Run(const Value& value) {
    Format(value, 0, 0, 0);
    return std::move(out_);
  }

 private:
  static constexpr int64_t kWidth = 80;

  static int64_t Size(std::string_view text) { return static_cast<int64_t>(CountCodePoints(text)); }

  static std::vector<std::pair<Value, Value>> SortedItems(const Value& dict) {
    auto items = dict.dict().items;
    std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
      try {
        return Compare(a.first, Order::kLess, b.first);
      } catch (const Error& error) {
        if (error.kind == ErrorKind::kLimit) throw;
        return std::string_view(TypeName(a.first)) < std::string_view(TypeName(b.first));
      }
    });
    return items;
  }

  // The value with the dicts in it sorted, so that its repr is pprint's.
  static Value WithSortedDicts(const Value& value) {
    if (value.is(Kind::kDict)) {
      auto dict = Make<DictObject>();
      for (const auto& [key, item] : SortedItems(value)) dict->Set(key, WithSortedDicts(item));
      return MakeDict(std::move(dict));
    }
    if (value.is(Kind::kList) || value.is(Kind::kTuple)) {
      std::vector<Value> items;
      for (const Value& item : value.items()) items.push_back(WithSortedDicts(item));
      return value.is(Kind::kList) ? MakeList(std::move(items)) : MakeTuple(std::move(items));
    }
    return value;
  }

  void NewLine(int64_t indent) {
    CheckTextSize(out_.size() + static_cast<size_t>(indent));
    out_ += Cat("\n", std::string(static_cast<size_t>(indent), ' '));
  }

  void Format(const Value& value, int64_t indent, int64_t allowance, int level) {
    Step();
    CheckTextSize(out_.size());
    const std::string repr = ToRepr(WithSortedDicts(value));
    if (Size(repr) > kWidth - indent - allowance) {
      if (value.is(Kind::kDict)) return Dict(value, indent, allowance, level + 1);
      if (value.is(Kind::kList)) {
        out_ += '[';
        Elements(value.items(), indent + 1, allowance + 1, level + 1);
        out_ += ']';
        return;
      }
      if (value.is(Kind::kTuple) && !value.as<SequenceObject>().group) {
        const std::string end = value.items().size() == 1 ? ",)" : ")";
        out_ += '(';
        Elements(value.items(), indent + 1, allowance + Size(end), level + 1);
        out_ += end;
        return;
      }
      if (value.is_string() && !value.string().markup)
        return Text(value, indent, allowance, level + 1);
    }
    out_ += repr;
  }

  void Dict(const Value& dict, int64_t indent, int64_t allowance, int level) {
    out_ += '{';
    const auto items = SortedItems(dict);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        out_ += ',';
        NewLine(indent + 1);
      }
      const std::string key = ToRepr(WithSortedDicts(items[i].first));
      out_ += key + ": ";
      Format(items[i].second, indent + 1 + Size(key) + 2, i + 1 == items.size() ? allowance + 1 : 1,
             level);
    }
    out_ += '}';
  }

  void Elements(const std::vector<Value>& items, int64_t indent, int64_t allowance, int level) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        out_ += ',';
        NewLine(indent);
      }
      Format(items[i], indent, i + 1 == items.size() ? allowance : 1, level);
    }
  }

  // A long string: one literal a line, cut after whitespace.
  void Text(const Value& text, int64_t indent, int64_t allowance, int level) {
    std::vector<std::string> chunks;
    const std::vector<Value> lines = SplitLines(text, true);
    if (level == 1) {
      ++indent;
      ++allowance;
    }
    const int64_t width = kWidth - indent;
    std::string repr;
    for (size_t i = 0; i < lines.size(); ++i) {
      const bool last_line = i + 1 == lines.size();
      repr = ReprText(lines[i].text());
      if (Size(repr) <= width - (last_line ? allowance : 0)) {
        chunks.push_back(repr);
        continue;
      }
      const std::vector<std::string_view> parts = Parts(lines[i].text());
      std::string current;
      for (size_t j = 0; j < parts.size(); ++j) {
        const std::string candidate = current + std::string(parts[j]);
        const bool last = last_line && j + 1 == parts.size();
        StepBytes(candidate.size());
        if (Size(ReprText(candidate)) > width - (last ? allowance : 0)) {
          if (!current.empty()) chunks.push_back(ReprText(current));
          current = std::string(parts[j]);
        } else {
          current = candidate;
        }
      }
      if (!current.empty()) chunks.push_back(ReprText(current));
    }
    if (chunks.size() == 1) {
      out_ += repr;
      return;
    }
    if (level == 1) out_ += '(';
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) NewLine(indent);
      out_ += chunks[i];
    }
    if (level == 1) out_ += ')';
  }

  // Words, each with the whitespace after it.
  static std::vector<std::string_view> Parts(std::string_view line) {
    std::vector<std::string_view> parts;
    for (size_t at = 0; at < line.size();) {
      size_t end = at;
      while (end < line.size() && SkipSpace(line, end) == end) end += CodePointWidth(line, end);
      end = SkipSpace(line, end);
      parts.push_back(line.substr(at, end - at));
      at = end;
    }
    return parts;
  }

  std::string out_;
};

}  // namespace

Value Pprint(CallFrame& call) {
  return WhollyMarked(PrettyPrinter().Run(call[0]), HasMarks(call[0]));
}

namespace {

bool Matches(const char* pattern, std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const auto wide = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  icu::RegexMatcher matcher(icu::UnicodeString::fromUTF8(pattern), wide, UREGEX_CASE_INSENSITIVE,
                            status);
  matcher.setTimeLimit(200, status);  // hostile text must not keep the matcher busy
  return matcher.matches(status) && U_SUCCESS(status);
}

constexpr char kUrl[] =
    R"re(((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))(?::[\d]{1,5})?(?:[/?#]\S*)?)re";
constexpr char kEmail[] = R"re(\S+@\w[\w.-]*\.\w+)re";

size_t CountOf(std::string_view text, std::string_view wanted) {
  size_t count = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + wanted.size())) {
    ++count;
  }
  return count;
}

struct LinkStyle {
  Value limit;  // of what is shown of a link; None: all of it
  std::string attributes;
  std::vector<std::string> schemes;

  std::string Trimmed(const std::string& url) const {
    const Value text(url);
    if (limit.is_none() || !Compare(Value(Length(text)), Order::kGreater, limit)) return url;
    return Cat(Slice(text, Value(), limit, Value()).text(), "...");
  }
};

// A word between whitespace, as a link when it is one.
std::string LinkWord(const std::string& word, const LinkStyle& style) {
  size_t begin = 0;
  while (true) {
    if (begin < word.size() && (word[begin] == '(' || word[begin] == '<')) {
      ++begin;
    } else if (word.compare(begin, 4, "&lt;") == 0) {
      begin += 4;
    } else {
      break;
    }
  }
  size_t end = word.size();
  while (end > begin) {
    if (std::string_view(")>.,\n").find(word[end - 1]) != std::string_view::npos) {
      --end;
    } else if (end - begin >= 4 && word.compare(end - 4, 4, "&gt;") == 0) {
      end -= 4;
    } else {
      break;
    }
  }
  const std::string head = word.substr(0, begin);
  std::string middle = word.substr(begin, end - begin);
  std::string tail = word.substr(end);
  static constexpr std::pair<std::string_view, std::string_view> kPairs[] = {
      {"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
  for (const auto& [open, close] : kPairs) {
    const size_t opened = CountOf(middle, open);
    if (opened <= CountOf(middle, close)) continue;
    for (size_t i = std::min(opened, CountOf(tail, close)); i > 0; --i) {
      const size_t to = tail.find(close) + close.size();
      middle += tail.substr(0, to);
      tail.erase(0, to);
    }
  }
  const auto link = [&](const std::string& address, const std::string& attributes,
                        const std::string& label) {
    return Cat("<a href=\"", address, "\"", attributes, ">", label, "</a>");
  };
  if (Matches(kUrl, middle)) {
    const bool has_scheme = middle.starts_with("https://") || middle.starts_with("http://");
    middle =
        link(Cat(has_scheme ? "" : "https://", middle), style.attributes, style.Trimmed(middle));
  } else if (middle.starts_with("mailto:") && Matches(kEmail, middle.substr(7))) {
    middle = link(middle, "", middle.substr(7));
  } else if (middle.find('@') != std::string::npos && !middle.starts_with("www.") &&
             middle[0] != '@' && middle.find(':') == std::string::npos && Matches(kEmail, middle)) {
    middle = link(Cat("mailto:", middle), "", middle);
  } else {
    for (const std::string& scheme : style.schemes) {
      if (middle != scheme && middle.starts_with(scheme)) {
        middle = link(middle, style.attributes, middle);
      }
    }
  }
  return head + middle + tail;
}

}  // namespace

Value Urlize(CallFrame& call) {
  LinkStyle style;
  if (call.given(1)) style.limit = call[1];
  std::set<std::string> rel = {"noopener"};
  if (call.given(4)) {
    for (const Value& word : SplitText(ToStr(call[4]), nullptr, -1, false)) {
      rel.emplace(word.text());
    }
  }
  if (call.has(2) && Truth(call[2])) rel.emplace("nofollow");
  std::string joined;
  for (const std::string& word : rel) joined += Cat(joined.empty() ? "" : " ", word);
  style.attributes = Cat(" rel=\"", EscapeHtml(Value(joined)).text(), "\"");
  if (call.given(3) && Truth(call[3])) {
    style.attributes += Cat(" target=\"", EscapeHtml(ToStr(call[3], true)).text(), "\"");
  }
  if (call.given(5)) {
    for (const Value& scheme : Collect(call[5])) {
      if (!scheme.is_string() || !Matches(R"re([\w.+-]{2,}:(/){0,2})re", scheme.text())) {
        RuntimeError(ToRepr(scheme), " is not a valid URI scheme prefix.");
      }
      style.schemes.emplace_back(scheme.text());
    }
  }
  const Value escaped = EscapeHtml(ToStr(call[0], true));
  const std::string_view text = escaped.text();
  TextBuilder builder;
  for (size_t at = 0; at < text.size();) {
    size_t end = SkipSpace(text, at);
    builder.AppendInput(text.substr(at, end - at), HasMarks(escaped));
    at = end;
    while (end < text.size() && SkipSpace(text, end) == end) end += CodePointWidth(text, end);
    if (end == at) continue;
    Step(20);
    builder.AppendInput(LinkWord(std::string(text.substr(at, end - at)), style), HasMarks(escaped));
    at = end;
  }
  return builder.Build(call.interpreter.autoescape());
}

}  // namespace shardline::jinja::filters
