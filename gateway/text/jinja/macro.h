// Values that refer to parts of the template: macros, and references to blocks.
#pragma once

#include "gateway/text/jinja/ast.h"
#include "gateway/text/jinja/scope.h"

namespace shardline::jinja {

struct MacroObject : Object {
  const MacroNode* node = nullptr;
  Scope* scope = nullptr;  // where it was defined; captured, so it outlives the macro
  std::string name;
};

struct BlockObject : Object {
  const Stmt* block = nullptr;
};

}  // namespace shardline::jinja
