// The variables of a block of a template. A scope sees its parent's variables; setting one never
// changes the parent's.
#pragma once

#include <utility>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

struct Scope : Object {
  explicit Scope(Ref<Scope> outer) : parent(std::move(outer)) {}

  const Value* Find(int slot) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
      for (const auto& [name, value] : scope->variables) {
        if (name == slot) return &value;
      }
    }
    return nullptr;
  }
  void Set(int slot, Value value) {
    for (auto& [name, old] : variables) {
      if (name == slot) {
        old = std::move(value);
        return;
      }
    }
    variables.emplace_back(slot, std::move(value));
  }

  Ref<Scope> parent;
  std::vector<std::pair<int, Value>> variables;
  bool captured = false;  // a macro refers to it: it is kept until the rendering ends
};

}  // namespace shardline::jinja
