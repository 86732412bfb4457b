// The `loop` variable of a for statement, and the iteration behind it.
#pragma once

#include <optional>

#include "gateway/text/jinja/ast.h"
#include "gateway/text/jinja/scope.h"

namespace shardline::jinja {

struct LoopObject : IteratorObject {
  bool Advance(Value* item);         // the next item of the loop
  size_t Length();                   // reads the rest of an iterator that has no length
  const Value* Peek();               // the item after the current one; nullptr at the end
  bool Next(Value* value) override;  // as Python iterates a loop: pairs of item and loop

  Value iterable;
  Ref<IteratorObject> source;
  int64_t index0 = -1;
  int64_t depth0 = 0;
  std::optional<size_t> length;
  bool peeked = false;
  std::optional<Value> after;  // when peeked: the next item, or none
  std::optional<Value> current;
  std::optional<Value> before;
  std::optional<Value> last_changed;
  const Stmt* statement = nullptr;  // of a recursive loop
  Ref<Scope> scope;                 // where a recursive loop stands
};

// An attribute of `loop` (undefined values included); none when there is no such attribute.
std::optional<Value> LoopAttribute(const Value& loop, std::string_view name);

}  // namespace shardline::jinja
