#include "gateway/text/jinja/budget.h"

namespace shardline::jinja {

namespace {

thread_local Budget* current = nullptr;

Budget DefaultBudget() {
  Budget budget;
  budget.max_steps = UINT64_MAX / 2;
  budget.max_live_bytes = size_t{1} << 30;
  budget.max_text_bytes = size_t{1} << 28;
  budget.max_nesting = 200;
  return budget;
}

}  // namespace

Budget& CurrentBudget() {
  if (current != nullptr) return *current;
  thread_local Budget fallback = DefaultBudget();
  return fallback;
}

UseBudget::UseBudget(Budget* budget) : previous_(current) { current = budget; }
UseBudget::~UseBudget() { current = previous_; }

void FailSteps() { LimitError("rendering takes more than ", CurrentBudget().max_steps, " steps"); }

void CheckStack() {
  const Budget& budget = CurrentBudget();
  if (budget.stack_start == nullptr) return;
  const char* here = static_cast<const char*>(__builtin_frame_address(0));
  const size_t used = here < budget.stack_start ? static_cast<size_t>(budget.stack_start - here)
                                                : static_cast<size_t>(here - budget.stack_start);
  if (used > budget.max_stack_bytes) LimitError("expressions or calls are nested too deeply");
}

void CheckTextSize(size_t bytes) {
  const Budget& budget = CurrentBudget();
  if (bytes > budget.max_text_bytes) {
    LimitError("a string of ", bytes, " bytes is longer than the limit of ", budget.max_text_bytes);
  }
}

}  // namespace shardline::jinja
