// The pprint filter: Python's pprint.pformat.
#include <algorithm>

#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja::filters {

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
    StepBytes(16 * repr.size());  // it is read code point by code point, again at each level
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

}  // namespace shardline::jinja::filters
