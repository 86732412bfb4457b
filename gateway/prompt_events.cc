#include "gateway/prompt_events.h"

#include <utility>

namespace shardline {
namespace {

// Below 1 MiB by more than any one token takes.
constexpr size_t kMaxEventBytes = size_t{1} << 19;

// Collects tokens of ascending positions and pushes an event whenever one is large enough.
class Pieces {
 public:
  Pieces(uint32_t first_position, EventStream& stream)
      : position_(first_position), stream_(stream) {}
  ~Pieces() { Push(); }

  void Add(v1::TokenInfo token) {
    bytes_ += token.ByteSizeLong() + 4;
    *event_.mutable_prompt()->add_tokens() = std::move(token);
    if (bytes_ >= kMaxEventBytes) Push();
  }

 private:
  void Push() {
    const auto tokens = static_cast<uint32_t>(event_.prompt().tokens_size());
    if (tokens == 0) return;
    event_.mutable_prompt()->set_first_position(position_);
    position_ += tokens;
    stream_.Push(std::move(event_));
    event_ = {};
    bytes_ = 0;
  }

  uint32_t position_;
  EventStream& stream_;
  v1::GenerateEvent event_;
  size_t bytes_ = 0;
};

}  // namespace

void PushPromptIds(std::span<const uint32_t> prompt, const RawBytes& raw, EventStream& stream) {
  Pieces pieces(0, stream);
  for (const uint32_t id : prompt) pieces.Add(ToTokenInfo(id, raw));
}

void PushPromptTokens(const Prompt& message, const RawBytes& raw, EventStream& stream) {
  Pieces pieces(message.header.first_position, stream);
  const size_t top_count = message.header.top_count;
  const std::span<const CandidateRecord> top(message.top);
  for (size_t i = 0; i < message.tokens.size(); ++i) {
    pieces.Add(ToTokenInfo(message.tokens[i], top.subspan(i * top_count, top_count), raw));
  }
}

}  // namespace shardline
