// Python's generic operations on values: truth, text forms, comparison, hashing, length,
// attributes.
#pragma once

#include <string>
#include <string_view>

#include "gateway/text/jinja/text.h"
#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

const char* TypeName(const Value& value);    // type(value).__name__
std::string ObjectName(const Value& value);  // as Undefined messages say it: "dict object"

bool Truth(const Value& value);
bool Equal(const Value& a, const Value& b);
bool Identical(const Value& a, const Value& b);  // Python's `is`
enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
bool Compare(const Value& a, Order order, const Value& b);  // TypeError when it has no order
size_t Hash(const Value& value);                            // TypeError when it cannot be hashed
size_t HashText(std::string_view text);
bool Contains(const Value& container, const Value& item);
size_t Length(const Value& value);

// str(value), with its marks; a Markup becomes plain text only where `keep_markup` is false.
Value ToStr(const Value& value, bool keep_markup = false);
void AppendStr(const Value& value, TextBuilder* out);
std::string ToRepr(const Value& value);
Value ToReprValue(const Value& value);        // wholly marked when anything in it is
std::string ReprText(std::string_view text);  // a string's repr
std::string AsciiOf(std::string_view repr);   // as ascii() escapes a repr
std::string IntText(Int value);
std::string DigitText(unsigned __int128 value, unsigned base, bool upper = false);  // base <= 16
unsigned __int128 Magnitude(Int value);  // its absolute value
std::string FloatText(double value);     // float.__repr__
bool HasMarks(const Value& value);       // any marked byte in it, at any depth

double ToDouble(const Value& number);  // of an Int, Bool or Float
[[noreturn]] void FailUndefined(const Value& undefined);
// A value where Python wants an int index; TypeError otherwise.
Int ToIndex(const Value& value);
int64_t ToIndex64(const Value& value);  // clamped to what fits

// Python's int(text, base) and float(text): false when the text is not a number.
bool ParseInt(std::string_view text, int base, Int* value);
bool ParseFloat(std::string_view text, double* value);

// Sandboxed attribute and item access with Jinja's fallbacks; never fails for what is missing,
// which gives an undefined value.
Value GetAttribute(Interpreter& interpreter, const Value& object, std::string_view name);
Value GetItem(Interpreter& interpreter, const Value& object, const Value& key);
Value Slice(const Value& object, const Value& start, const Value& stop, const Value& step);

// Operators. `autoescape` of the surrounding block matters only to Markup.
Value Add(const Value& a, const Value& b);
Value Subtract(const Value& a, const Value& b);
Value Multiply(const Value& a, const Value& b);
Value Divide(const Value& a, const Value& b);
Value FloorDivide(const Value& a, const Value& b);
Value Modulo(const Value& a, const Value& b);
Value Power(const Value& a, const Value& b);
Value Negate(const Value& value);
Value Positive(const Value& value);

}  // namespace shardline::jinja
