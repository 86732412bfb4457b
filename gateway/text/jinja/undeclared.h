// Which of some names a body mentions without having set them before: what decides whether a macro
// gets `caller`, `kwargs` and `varargs`, and whether a loop needs its `loop`.
#pragma once

#include <vector>

#include "gateway/text/jinja/ast.h"

namespace shardline::jinja {

// One flag for each of `slots`.
std::vector<bool> MentionsFreely(const Body& body, const std::vector<int>& slots);

}  // namespace shardline::jinja
