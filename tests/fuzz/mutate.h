// Mutators that know the formats: each takes a valid file apart, makes one lie or a few, and writes
// it back, so that most of the file still parses and the lie reaches the code behind it. The
// fuzzers use them through LLVMFuzzerCustomMutator, the replay test directly.
#pragma once

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
