// Python's str methods on marked strings, shared by the method table and the filters.
#pragma once

#include <string_view>
#include <vector>

#include "gateway/text/jinja/text.h"
#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

const std::vector<Native>& StringMethods();  // the table

bool IsLowerText(std::string_view text);
bool IsUpperText(std::string_view text);

// All keep the marks of the bytes they keep, and Markup.
Value UpperText(const Value& string);
Value LowerText(const Value& string);
Value CapitalizeText(const Value& string);
// `chars` nullptr: whitespace.
Value StripText(const Value& string, const Value* chars, bool left, bool right);
// Up to `count` times; all when it is negative.
Value ReplaceText(const Value& string, const Value& old_text, const Value& new_text, int64_t count);
Value CenterText(const Value& string, int64_t width, std::string_view fill);
Value JoinText(const Value& separator, const std::vector<Value>& strings);
std::vector<Value> SplitText(const Value& string, const Value* separator, int64_t count,
                             bool from_right);
std::vector<Value> SplitLines(const Value& string, bool keep_ends);

}  // namespace shardline::jinja
