// A compiled pattern and its matches in a text: PCRE2 with UTF, properties and JIT, under limits
// that turn a pathological pattern into an error rather than a hang. Safe to use from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

struct TextRange {
  size_t begin, end;  // bytes
};

class Regex {
 public:
  // `pattern` in Oniguruma's (Ruby's) syntax. Errors: InvalidArgument with what is wrong where.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);

  // Appends the non-overlapping matches in well-formed UTF-8, leftmost first; an empty match is not
  // taken right behind the previous match. Errors: InvalidArgument when matching exceeds its
  // limits.
  absl::Status FindAll(std::string_view text, std::vector<TextRange>& matches) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct Free {
    void operator()(void* code) const;
  };
  std::string pattern_;  // as written in the file, for errors
  std::unique_ptr<void, Free> code_;
  bool jit_ = false;
};

}  // namespace shardline
