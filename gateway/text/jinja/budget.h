// What one rendering may use. The budget of the rendering that runs on this thread is reached
// through CurrentBudget(), so that every value can be charged where it is made and released where
// it dies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gateway/text/jinja/error.h"

namespace shardline::jinja {

struct Budget {
  uint64_t steps = 0;  // evaluation steps so far; long strings and lists count by their size
  uint64_t max_steps = 0;
  size_t live_bytes = 0;  // held by values that are alive
  size_t max_live_bytes = 0;
  size_t max_text_bytes = 0;  // of one string
  uint32_t max_nesting = 0;   // of lists in lists
  const char* stack_start = nullptr;
  size_t max_stack_bytes = 0;
};

// The budget of this thread's rendering; a generous default where none runs (tests of single
// parts).
Budget& CurrentBudget();

// Makes `budget` this thread's current one for the lifetime of the object.
class UseBudget {
 public:
  explicit UseBudget(Budget* budget);
  ~UseBudget();
  UseBudget(const UseBudget&) = delete;
  UseBudget& operator=(const UseBudget&) = delete;

 private:
  Budget* previous_;
};

[[noreturn]] void FailSteps();

inline void Step(uint64_t count = 1) {
  Budget& budget = CurrentBudget();
  budget.steps += count;
  if (budget.steps > budget.max_steps) FailSteps();
}

// Work on `bytes` bytes of text or list elements.
inline void StepBytes(size_t bytes) { Step(bytes / 64); }

// Fails when the C++ stack used since the rendering began is above its limit.
void CheckStack();

// Fails when one string of `bytes` bytes would be too long.
void CheckTextSize(size_t bytes);

}  // namespace shardline::jinja
