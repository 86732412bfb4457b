// What a caller of the template engine may set, and what it gets back.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/text/jinja/ranges.h"

namespace shardline::jinja {

// Every rendering ends within these, whatever the template: passing one is an error.
struct RenderLimits {
  uint64_t steps = 5'000'000;              // evaluations; 64 bytes of copied text count as one
  size_t output_bytes = size_t{16} << 20;  // of the result, and of any one string on the way
  size_t value_bytes = size_t{256} << 20;  // held by all values together
  uint32_t calls = 180;                    // macros within macros
  uint32_t nesting = 200;                  // lists within lists
  size_t stack_bytes = size_t{3} << 20;    // of the calling thread's stack
};

struct RenderOptions {
  RenderLimits limits;

  // What strftime_now() formats: in local time, as Python's datetime.now(); the clock when empty.
  std::optional<std::chrono::system_clock::time_point> now;

  // Which strings of the variables count as input, as JSON pointers in which "*" stands for any one
  // member or element and which cover everything below them: all of the messages, but for their
  // roles. What the second list matches is taken out again. Both empty: nothing is marked.
  std::vector<std::string> input_paths = {"/messages/*"};
  std::vector<std::string> trusted_paths = {"/messages/*/role"};
};

struct Rendered {
  std::string text;
  // The bytes of `text` that came from input: sorted, disjoint. The rest are the template's own.
  std::vector<Range> input_ranges;
};

}  // namespace shardline::jinja
