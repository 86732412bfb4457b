// The urlize filter: addresses in a text become links.
#include <unicode/regex.h>

#include <algorithm>
#include <memory>
#include <set>

#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja::filters {

namespace {

// A pattern, compiled once: a text has many words.
class Pattern {
 public:
  explicit Pattern(const char* pattern)
      : pattern_(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(pattern),
                                            UREGEX_CASE_INSENSITIVE, error_, status_)) {}

  bool Matches(std::string_view text) const {
    UErrorCode status = status_;
    if (U_FAILURE(status)) return false;
    StepBytes(16 * text.size());
    const auto wide = icu::UnicodeString::fromUTF8(
        icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
    const std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(wide, status));
    if (U_FAILURE(status)) return false;
    matcher->setTimeLimit(200, status);  // hostile text must not keep the matcher busy
    return matcher->matches(status) && U_SUCCESS(status);
  }

 private:
  UParseError error_{};
  UErrorCode status_ = U_ZERO_ERROR;
  std::unique_ptr<icu::RegexPattern> pattern_;
};

constexpr char kUrl[] =
    R"re(((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))(?::[\d]{1,5})?(?:[/?#]\S*)?)re";
constexpr char kEmail[] = R"re(\S+@\w[\w.-]*\.\w+)re";
constexpr char kScheme[] = R"re([\w.+-]{2,}:(/){0,2})re";

bool IsUrl(std::string_view text) {
  static const Pattern pattern(kUrl);
  return pattern.Matches(text);
}

bool IsEmail(std::string_view text) {
  static const Pattern pattern(kEmail);
  return pattern.Matches(text);
}

bool IsScheme(std::string_view text) {
  static const Pattern pattern(kScheme);
  return pattern.Matches(text);
}

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
    size_t to = 0;
    for (size_t i = std::min(opened, CountOf(tail, close)); i > 0; --i) {
      to = tail.find(close, to) + close.size();
    }
    middle += tail.substr(0, to);
    tail.erase(0, to);
  }
  const auto link = [&](const std::string& address, const std::string& attributes,
                        const std::string& label) {
    return Cat("<a href=\"", address, "\"", attributes, ">", label, "</a>");
  };
  if (IsUrl(middle)) {
    const bool has_scheme = middle.starts_with("https://") || middle.starts_with("http://");
    middle =
        link(Cat(has_scheme ? "" : "https://", middle), style.attributes, style.Trimmed(middle));
  } else if (middle.starts_with("mailto:") && IsEmail(middle.substr(7))) {
    middle = link(middle, "", middle.substr(7));
  } else if (middle.find('@') != std::string::npos && !middle.starts_with("www.") &&
             middle[0] != '@' && middle.find(':') == std::string::npos && IsEmail(middle)) {
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
      if (!scheme.is_string() || !IsScheme(scheme.text())) {
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
