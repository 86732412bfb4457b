// Looks names up in a family's table, and folds long lists of names for error texts.
#include "worker/weights/name_map.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "shared/base/strings.h"

namespace shardline {
namespace {

struct Numbered {
  std::string before, after;
  int64_t number;
};

// Splits at the first part between dots that is a number.
std::optional<Numbered> SplitAtNumber(std::string_view name) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    int64_t number = 0;
    const auto result = std::from_chars(name.data() + begin, name.data() + end, number);
    if (result.ec == std::errc() && result.ptr == name.data() + end && name[begin] != '-') {
      return Numbered{std::string(name.substr(0, begin)), std::string(name.substr(end)), number};
    }
    begin = end + 1;
  }
  return std::nullopt;
}

// The same with "*" in place of the number.
std::string Starred(std::string_view name, std::optional<Numbered>& split) {
  split = SplitAtNumber(name);
  return split ? Cat(split->before, "*", split->after) : std::string(name);
}

std::string Ranges(std::vector<int64_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  if (numbers.size() == 1) return Cat(numbers[0]);
  std::string out = "{";
  for (size_t i = 0; i < numbers.size();) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (i > 0) out += ',';
    out += last == i ? Cat(numbers[i]) : Cat(numbers[i], "-", numbers[last]);
    i = last + 1;
  }
  return out + "}";
}

}  // namespace

void SetRule(NameTable& table, NameRule rule) {
  for (NameRule& known : table.rules) {
    if (known.slot != rule.slot) continue;
    known = std::move(rule);
    return;
  }
  table.rules.push_back(std::move(rule));
}

MappedName MapName(const NameTable& table, std::string_view slot, int64_t expert) {
  const size_t dot = slot.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string kind(slot.substr(dot));
  std::vector<int64_t> numbers;
  std::string stem(slot.substr(0, dot));
  while (const auto split = SplitAtNumber(stem)) {
    stem = Cat(split->before, "*", split->after);
    numbers.push_back(split->number);
  }
  if (!numbers.empty()) numbers[0] += table.first_block;
  for (const NameRule& rule : table.rules) {
    const bool whole = rule.slot == stem + kind;
    if (rule.slot != stem && !whole) continue;
    const auto named = [&](std::string tensor) {
      if (tensor.empty()) return tensor;
      for (const int64_t number : numbers) {
        const size_t star = tensor.find('*');
        if (star != std::string::npos) tensor.replace(star, 1, Cat(number));
      }
      const size_t hash = tensor.find('#');
      if (hash != std::string::npos) tensor.replace(hash, 1, Cat(expert));
      return whole ? tensor : tensor + kind;
    };
    const auto one_expert = [](const std::string& tensor) {
      return tensor.find('#') != tensor.npos;
    };
    return {.tensor = named(rule.tensor),
            .order = rule.order,
            .joined = named(rule.joined),
            .fusion = rule.fusion,
            .one_expert = one_expert(rule.tensor),
            .joined_one_expert = one_expert(rule.joined)};
  }
  return {};
}

bool IsIgnored(const NameTable& table, std::string_view tensor) {
  std::optional<Numbered> split;
  const std::string starred = Starred(tensor, split);
  return std::any_of(table.ignored.begin(), table.ignored.end(), [&](const std::string& name) {
    if (name.ends_with("**")) return tensor.starts_with(name.substr(0, name.size() - 2));
    return name == starred;
  });
}

std::string FoldNames(const std::vector<std::string>& names) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<int64_t>> numbers;
  for (const std::string& name : names) {
    std::optional<Numbered> split;
    const std::string starred = Starred(name, split);
    auto [it, fresh] = numbers.try_emplace(starred);
    if (fresh) order.push_back(starred);
    if (split) it->second.push_back(split->number);
  }
  std::string out;
  for (const std::string& starred : order) {
    if (!out.empty()) out += ", ";
    const std::vector<int64_t>& found = numbers[starred];
    std::string name = starred;
    if (!found.empty()) name.replace(name.find('*'), 1, Ranges(found));
    out += name;
  }
  return out;
}

}  // namespace shardline
