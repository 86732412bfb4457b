#include "gateway/text/jinja/json.h"

#include <algorithm>
#include <cmath>

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

using Json = nlohmann::ordered_json;

// How far a path pattern has been matched on the way down to a value.
struct Pattern {
  std::vector<std::string> parts;
  size_t matched = 0;
};

std::vector<Pattern> ParsePatterns(const std::vector<std::string>& paths) {
  std::vector<Pattern> patterns;
  for (const std::string& path : paths) {
    Pattern pattern;
    size_t begin = 0;
    while (begin < path.size() && path[begin] == '/') {
      const size_t end = std::min(path.find('/', begin + 1), path.size());
      pattern.parts.push_back(path.substr(begin + 1, end - begin - 1));
      begin = end;
    }
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

// The patterns that still match one level further down, at member (or element) `name`.
std::vector<Pattern> Below(const std::vector<Pattern>& patterns, const std::string& name) {
  std::vector<Pattern> below;
  for (const Pattern& pattern : patterns) {
    if (pattern.matched == pattern.parts.size()) {
      below.push_back(pattern);
    } else if (pattern.parts[pattern.matched] == "*" || pattern.parts[pattern.matched] == name) {
      below.push_back(pattern);
      ++below.back().matched;
    }
  }
  return below;
}

bool Covers(const std::vector<Pattern>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [](const Pattern& pattern) {
    return pattern.matched == pattern.parts.size();
  });
}

class Reader {
 public:
  Value Read(const Json& json, const std::vector<Pattern>& input,
             const std::vector<Pattern>& trusted, uint32_t depth) {
    if (depth > CurrentBudget().max_nesting) LimitError("the variables are nested too deeply");
    switch (json.type()) {
      case Json::value_t::boolean:
        return Value(json.get<bool>());
      case Json::value_t::number_integer:
        return Value(json.get<int64_t>());
      case Json::value_t::number_unsigned:
        return Value(static_cast<Int>(json.get<uint64_t>()));
      case Json::value_t::number_float:
        return Value(json.get<double>());
      case Json::value_t::string:
        return WhollyMarked(json.get_ref<const std::string&>(), Covers(input) && !Covers(trusted));
      case Json::value_t::array: {
        std::vector<Value> items;
        items.reserve(json.size());
        for (size_t i = 0; i < json.size(); ++i) {
          if (input.empty()) {
            items.push_back(Read(json[i], input, trusted, depth + 1));
          } else {
            const std::string name = std::to_string(i);
            items.push_back(Read(json[i], Below(input, name), Below(trusted, name), depth + 1));
          }
        }
        return MakeList(std::move(items));
      }
      case Json::value_t::object: {
        auto dict = Make<DictObject>();
        // The names of a message's own members are the template's business; names further down
        // (arguments of a call) come from input like the values.
        const bool marked = Covers(input) && !Covers(trusted) && depth > 2;
        for (const auto& [key, value] : json.items()) {
          const Value name = WhollyMarked(key, marked);
          dict->Set(name, input.empty()
                              ? Read(value, input, trusted, depth + 1)
                              : Read(value, Below(input, key), Below(trusted, key), depth + 1));
        }
        return MakeDict(std::move(dict));
      }
      case Json::value_t::binary:
        return BigInteger(json.get_binary());
      default:
        return Value();
    }
  }

 private:
  // The digits that ParseVariables keeps of an integer above 64 bits.
  static Value BigInteger(const Json::binary_t& digits) {
    Int value = 0;
    if (!ParseInt(std::string(digits.begin(), digits.end()), 10, &value)) {
      ValueError("the variables hold binary data");
    }
    return Value(value);
  }
};

}  // namespace

Value FromJson(const Json& json, const std::string& name, const RenderOptions& options) {
  return Reader().Read(json, Below(ParsePatterns(options.input_paths), name),
                       Below(ParsePatterns(options.trusted_paths), name), 1);
}

namespace {

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}

  void Write(const Value& value, size_t level) {
    Step();
    CheckTextSize(out_.size());
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "null";
        return;
      case Kind::kBool:
        out_ += value.boolean() ? "true" : "false";
        return;
      case Kind::kInt:
        out_ += IntText(value.integer());
        return;
      case Kind::kFloat:
        out_ += Float(value.floating());
        return;
      case Kind::kString:
        return Text(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return Array(value.items(), level);
      case Kind::kDict:
        return Dict(value.dict(), level);
      default:
        TypeError("Object of type ", TypeName(value), " is not JSON serializable");
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  static std::string Float(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatText(value);
  }

  static std::string Key(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        return std::string(key.text());
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return key.boolean() ? "true" : "false";
      case Kind::kInt:
        return IntText(key.integer());
      case Kind::kFloat:
        return Float(key.floating());
      default:
        TypeError("keys must be str, int, float, bool or None, not ", TypeName(key));
    }
  }

  void Escape(char32_t c) {
    static constexpr char kDigits[] = "0123456789abcdef";
    if (c > 0xFFFF) {
      Escape(0xD800 + ((c - 0x10000) >> 10));
      Escape(0xDC00 + ((c - 0x10000) & 0x3FF));
      return;
    }
    out_ += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out_ += kDigits[(c >> shift) & 15];
  }

  void Text(std::string_view text) {
    StepBytes(text.size());
    out_ += '"';
    for (size_t offset = 0; offset < text.size();) {
      const size_t begin = offset;
      const char32_t c = NextCodePoint(text, &offset);
      switch (c) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        case '\f':
          out_ += "\\f";
          break;
        case '\b':
          out_ += "\\b";
          break;
        default:
          if (c < 0x20 || (style_.ascii && c > 0x7E)) {
            Escape(c);
          } else {
            out_.append(text.substr(begin, offset - begin));
          }
      }
    }
    out_ += '"';
  }

  void NewLine(size_t level) {
    if (!style_.indent.has_value()) return;
    out_ += '\n';
    CheckTextSize(out_.size() + style_.indent->size() * level);
    StepBytes(style_.indent->size() * level);
    for (size_t i = 0; i < level; ++i) out_ += *style_.indent;
  }

  void Array(const std::vector<Value>& items, size_t level) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Write(items[i], level + 1);
    }
    NewLine(level);
    out_ += ']';
  }

  void Dict(const DictObject& dict, size_t level) {
    if (dict.items.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) {
        return Compare(a->first, Order::kLess, b->first);
      });
    }
    out_ += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Text(Key(items[i]->first));
      out_ += style_.key_separator;
      Write(items[i]->second, level + 1);
    }
    NewLine(level);
    out_ += '}';
  }

  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

std::string ToJson(const Value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.Write(value, 0);
  return writer.Take();
}

}  // namespace shardline::jinja
