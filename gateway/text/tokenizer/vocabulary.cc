#include "gateway/text/tokenizer/vocabulary.h"

namespace shardline {

absl::Status Vocabulary::Add(std::string_view token, uint32_t id) {
  if (id >= kMaxId) return InvalidArgument("id ", id, " is not below ", kMaxId);
  if (id < tokens_.size() && tokens_[id].data() != nullptr && tokens_[id] != token) {
    return InvalidArgument("id ", id, " has two tokens");
  }
  const std::string_view stored = storage_.emplace_back(token);
  ids_.insert_or_assign(stored, id);
  if (id >= tokens_.size()) tokens_.resize(id + 1);
  tokens_[id] = stored;
  return absl::OkStatus();
}

}  // namespace shardline
