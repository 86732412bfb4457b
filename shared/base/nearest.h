// Which of several names somebody may have meant.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

namespace shardline {

// Letters to insert, drop or replace between the two (Levenshtein 1966).
inline size_t NameDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

// Of equals the first; empty when there are none.
inline std::string_view NearestName(std::string_view name,
                                    std::span<const std::string_view> names) {
  std::string_view nearest;
  for (const std::string_view other : names) {
    if (nearest.empty() || NameDistance(name, other) < NameDistance(name, nearest)) {
      nearest = other;
    }
  }
  return nearest;
}

}  // namespace shardline
