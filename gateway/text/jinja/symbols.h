// Finds the variables that are unset when a scope is entered. Jinja decides per scope, before
// anything runs: a name that a scope sets, and does not read before (other than in inner scopes),
// is the scope's own from its beginning. Until it is set it is undefined there and in inner scopes,
// even where the caller passed a variable of that name.
#pragma once

#include "gateway/text/jinja/ast.h"

namespace shardline::jinja {

// Fills the `unset` lists of the tree.
void FindUnsetNames(TemplateTree* tree);

}  // namespace shardline::jinja
