#include "gateway/text/jinja/attribute_path.h"

#include <algorithm>

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

bool AllDigits(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    if (!IsDigit(NextCodePoint(text, &offset))) return false;
  }
  return !text.empty();
}

}  // namespace

AttributePath::AttributePath(const Value& attribute) {
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  const Value dot = Value(".");
  for (Value& part : SplitText(attribute, &dot, -1, false)) {
    Int index = 0;
    if (AllDigits(part.text()) && ParseInt(part.text(), 10, &index)) {
      parts_.emplace_back(index);
    } else {
      parts_.push_back(std::move(part));
    }
  }
}

Value AttributePath::Get(Interpreter& interpreter, const Value& item, const Value* fallback) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = GetItem(interpreter, value, part);
    if (fallback != nullptr && !fallback->is_none() && value.is_undefined()) value = *fallback;
  }
  return value;
}

std::vector<AttributePath> AttributePaths(const Value& attribute) {
  std::vector<AttributePath> paths;
  if (!attribute.is_string()) {
    paths.emplace_back(attribute);
    return paths;
  }
  const Value comma = Value(",");
  for (const Value& part : SplitText(attribute, &comma, -1, false)) paths.emplace_back(part);
  return paths;
}

Value IgnoreCase(const Value& value) { return value.is_string() ? LowerText(value) : value; }

}  // namespace shardline::jinja
