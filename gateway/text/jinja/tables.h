// Where the names of the language are looked up: one table each for filters (filters.cc), tests
// (tests.cc), global functions (globals.cc) and the methods of each kind of value (methods.cc).
#pragma once

#include <string_view>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

// nullptr: there is none of this name.
const Native* FindFilter(std::string_view name);
const Native* FindTest(std::string_view name);
const Native* FindGlobal(std::string_view name);
const Native* FindMethod(Kind kind, std::string_view name);

// Whether the sandbox hides this method because it would change the value.
bool IsMutatingMethod(Kind kind, std::string_view name);

const Native* FindIn(const std::vector<Native>& table, std::string_view name);

}  // namespace shardline::jinja
