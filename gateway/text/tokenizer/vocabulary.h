// Token strings and their ids, as a vocabulary file lists them.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

class Vocabulary {
 public:
  // No real vocabulary comes near; ids index arrays here and in the worker.
  static constexpr uint32_t kMaxId = 1u << 22;

  // A string given again moves to the new id. Errors: InvalidArgument (id too large, or taken).
  absl::Status Add(std::string_view token, uint32_t id);

  std::optional<uint32_t> Find(std::string_view token) const {
    const auto found = ids_.find(token);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }
  // Empty where the id has no token.
  std::string_view Token(uint32_t id) const {
    return id < tokens_.size() ? tokens_[id] : std::string_view();
  }
  size_t size() const { return ids_.size(); }                                  // strings
  uint32_t id_limit() const { return static_cast<uint32_t>(tokens_.size()); }  // ids are below it

 private:
  struct Hash {
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::deque<std::string> storage_;
  absl::flat_hash_map<std::string_view, uint32_t, Hash, std::equal_to<>> ids_;
  std::vector<std::string_view> tokens_;
};

}  // namespace shardline
