// Mutators that know the formats: each takes a valid file apart, makes one lie or a few, and writes
// it back, so that most of the file still parses and the lie reaches the code behind it. The
// fuzzers use them through LLVMFuzzerCustomMutator, the replay test directly.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace shardline::fuzz {

using Random = std::minstd_rand;

// A number that breaks something: borders of every width, and neighbours of `value`.
uint64_t HostileNumber(Random& random, uint64_t value);

// JSON text: a value or a member is replaced, dropped, doubled, moved or nested.
std::string MutateJson(std::string_view text, Random& random);
// A safetensors file: its header as JSON (the length follows, mostly), its length, its data's size.
std::string MutateSafetensors(std::string_view file, Random& random);
// A GGUF file: a count, length, type, value, dimension or offset; whole entries; its end.
std::string MutateGguf(std::string_view file, Random& random);

// What rank 0 sends to the other ranks: a plan's rows, tokens, wanted ones and blocks, or a header.
std::string MutatePlans(std::string_view orders, Random& random);
// A chat template, or one of a list of them; after a NUL byte, its variables as JSON.
std::string MutateTemplate(std::string_view text, Random& random);

// Each template of a list: one a line, in {{ }} where it is an expression; a line that begins with
// "# " is a comment, and ⏎ stands for a newline.
template <typename Take>
void ForEachTemplate(std::string_view list, Take take) {
  constexpr std::string_view kNewline = "⏎";
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find('\n', begin), list.size());
    std::string line(list.substr(begin, end - begin));
    begin = end + 1;
    if (line.empty() || line.starts_with("# ")) continue;
    for (size_t at = 0; (at = line.find(kNewline, at)) != std::string::npos;) {
      line.replace(at, kNewline.size(), "\n");
    }
    const bool tags = line.find("{{") != std::string::npos ||
                      line.find("{%") != std::string::npos || line.find("{#") != std::string::npos;
    take(tags ? line : "{{ " + line + " }}");
  }
}

// What LLVMFuzzerCustomMutator has to return; keeps to `max_size`.
template <typename Mutate>
size_t Apply(Mutate mutate, uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Random random(seed);
  std::string text(reinterpret_cast<const char*>(data), size);
  for (unsigned lies = 1 + random() % 3; lies > 0; --lies) text = mutate(text, random);
  text.resize(text.size() < max_size ? text.size() : max_size);
  text.copy(reinterpret_cast<char*>(data), text.size());
  return text.size();
}

}  // namespace shardline::fuzz
