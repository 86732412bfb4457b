#include "gateway/journal.h"

namespace shardline {

bool JournalEntry::Emitted(uint32_t output_index, uint32_t index, uint32_t id) {
  if (output_index >= emitted_.size() || index != emitted_[output_index].size()) return false;
  emitted_[output_index].push_back(id);
  return true;
}

uint64_t JournalEntry::emitted_tokens() const {
  uint64_t tokens = 0;
  for (const auto& output : emitted_) tokens += output.size();
  return tokens;
}

Submit JournalEntry::Resubmission(uint32_t output_index) const {
  Submit submit = submit_;
  submit.emitted = emitted_[output_index];
  return submit;
}

}  // namespace shardline
