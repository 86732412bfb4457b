// The variables of a block of a template. A scope sees its parent's variables; setting one never
// changes the parent's.
#pragma once

#include <unordered_map>
#include <utility>
#include <vector>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

struct Scope : Object {
  explicit Scope(Ref<Scope> outer) : parent(std::move(outer)) {}

  const Value* Find(int slot) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
      const size_t at = scope->Position(slot);
      if (at < scope->variables.size()) return &scope->variables[at].second;
    }
    return nullptr;
  }
  void Set(int slot, Value value) {
    const size_t at = Position(slot);
    if (at < variables.size()) {
      variables[at].second = std::move(value);
      return;
    }
    variables.emplace_back(slot, std::move(value));
    if (variables.size() <= kFew) return;
    for (size_t i = positions.size(); i < variables.size(); ++i) positions[variables[i].first] = i;
  }

  // Where the variable is; variables.size() when it is not here.
  size_t Position(int slot) const {
    if (variables.size() <= kFew) {
      size_t at = 0;
      while (at < variables.size() && variables[at].first != slot) ++at;
      return at;
    }
    const auto found = positions.find(slot);
    return found == positions.end() ? variables.size() : found->second;
  }

  static constexpr size_t kFew = 16;
  Ref<Scope> parent;
  std::vector<std::pair<int, Value>> variables;
  std::unordered_map<int, size_t> positions;  // of the variables, once there are many
  bool captured = false;  // a macro refers to it: it is kept until the rendering ends
};

}  // namespace shardline::jinja
