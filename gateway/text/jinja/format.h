// Python's two ways of formatting: "%" and str.format().
#pragma once

#include <string_view>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

Value FormatPercent(const Value& format, const Value& arguments);

// format.format(*positional, **keyword)
Value FormatBraces(Interpreter& interpreter, const Value& format, const Arguments& arguments);
// format(value, spec): a string
Value FormatValue(const Value& value, std::string_view spec);

// A double in C's %e, %f, %g (or %r for repr), as Python writes it; `alternate` is C's '#'.
std::string FormatDouble(double value, char type, int precision, bool alternate);

}  // namespace shardline::jinja
