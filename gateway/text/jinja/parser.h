// Tokens to tree. Follows Jinja's grammar: its precedences, and its rules on what may be assigned.
#pragma once

#include <string_view>

#include "gateway/text/jinja/ast.h"

namespace shardline::jinja {

// Throws Error (kSyntax, kLimit) with the line.
TemplateTree ParseTemplate(std::string_view source);

}  // namespace shardline::jinja
