#include "gateway/text/tokenizer/pipeline.h"

#include <algorithm>

#include "gateway/text/utf8.h"

namespace shardline {
namespace {

// Words seen in this call and their ids: running text repeats itself. One entry per slot, the
// newest stays; small enough for the L2 cache.
class WordCache {
 public:
  struct Entry {
    std::string_view word;
    uint32_t begin = 0, count = 0;  // in the ids written so far
  };
  Entry& Slot(std::string_view word) {
    if (entries_.empty()) entries_.resize(kSlots);
    return entries_[std::hash<std::string_view>()(word) % kSlots];
  }

 private:
  static constexpr size_t kSlots = 8192;
  std::vector<Entry> entries_;
};

constexpr size_t kCachedWordBytes = 64;
constexpr size_t kUncachedWords = 200;              // a short text does not pay for the cache
constexpr size_t kMaxTokenBytes = 64 << 10;         // of a token as text
constexpr size_t kMaxRawBytes = size_t{512} << 20;  // of all tokens
constexpr double kMaxTemplateIds = 1 << 14;

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> PipelineTokenizer::Create(TokenizerParts parts) {
  std::unique_ptr<PipelineTokenizer> tokenizer(new PipelineTokenizer(std::move(parts)));
  SL_RETURN_IF_ERROR(tokenizer->BuildTries());
  SL_RETURN_IF_ERROR(tokenizer->BuildRaw());
  if (tokenizer->parts_.post_processor.ids_of_one() > kMaxTemplateIds) {
    return InvalidArgument("post_processor makes more than ", int64_t{1 << 14}, " ids of one");
  }
  if (tokenizer->parts_.post_processor.max_id() >= static_cast<int64_t>(tokenizer->raw_.size())) {
    return InvalidArgument("post_processor adds id ", tokenizer->parts_.post_processor.max_id(),
                           ", which is no token");
  }
  return tokenizer;
}

absl::Status PipelineTokenizer::BuildTries() {
  // Of two tokens that normalise to the same text the special one counts, then the first.
  for (const bool special : {true, false}) {
    for (const AddedToken& token : parts_.added_tokens) {
      if (token.special != special) continue;
      std::string content = token.content;
      size_t origin = 0;
      if (token.normalized && parts_.normalizer != nullptr) {
        SL_RETURN_IF_ERROR(parts_.normalizer->Apply(content, origin));
        if (content.size() > kMaxTokenBytes) {
          return InvalidArgument("normalizer: token ", token.id, " grows to ", content.size(),
                                 " bytes");
        }
      }
      (token.normalized ? normalized_tokens_ : raw_tokens_).Add(content, token);
      special_normalized_ |= token.normalized && special;
    }
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::BuildRaw() {
  const Vocabulary& vocabulary = parts_.model->vocabulary();
  uint32_t size = vocabulary.id_limit();
  size_t bytes = 0;
  for (const AddedToken& token : parts_.added_tokens) size = std::max(size, token.id + 1);
  raw_.resize(size);
  special_.resize(size);
  for (uint32_t id = 0; id < vocabulary.id_limit(); ++id) {
    const std::string_view token = vocabulary.Token(id);
    if (token.data() == nullptr) continue;
    SL_ASSIGN_OR_RETURN(raw_[id], parts_.decoder.Bytes(token));
    bytes += raw_[id].size();
    if (bytes > kMaxRawBytes) return InvalidArgument("decoder: the tokens grow without measure");
  }
  for (const AddedToken& token : parts_.added_tokens) {
    // A control token is its literal. Others are decoded like the vocabulary ("▁▁" is two spaces),
    // but for the byte alphabet, which they are not written in.
    raw_[token.id] = token.content;
    if (!token.special && !parts_.decoder.byte_level()) {
      SL_ASSIGN_OR_RETURN(raw_[token.id], parts_.decoder.Bytes(token.content));
    }
    special_[token.id] = token.special;
  }
  return absl::OkStatus();
}

std::string_view PipelineTokenizer::Raw(uint32_t id) const {
  return id < raw_.size() ? std::string_view(raw_[id]) : std::string_view();
}

bool PipelineTokenizer::IsSpecial(uint32_t id) const {
  return id < special_.size() && special_[id];
}

std::string_view PipelineTokenizer::Literal(int64_t id) const {
  return id < 0 ? std::string_view() : Raw(static_cast<uint32_t>(id));
}

// From the text to pieces: added tokens found, the rest normalised.
absl::Status PipelineTokenizer::Normalize(const EncodeOptions& options, std::string_view text,
                                          std::vector<Piece>& pieces, Arena& arena) const {
  AddedTokenTrie::Policy policy{options.parse_special_tokens, {}};
  for (const EncodeOptions::Range& range : options.literal_ranges) {
    policy.literal.push_back({range.begin, range.end});
  }
  Piece whole;
  whole.text = text;
  whole.at_start = true;
  whole.origin = text.empty() ? 0 : CharacterLength(text[0]);
  std::vector<Piece> found;
  raw_tokens_.Split(whole, policy, found);
  for (Piece piece : found) {
    if (piece.token >= 0) {
      pieces.push_back(piece);
      continue;
    }
    const std::string_view before = piece.text;
    if (parts_.normalizer != nullptr) {
      std::string& normalized = arena.New();
      normalized = before;
      SL_RETURN_IF_ERROR(parts_.normalizer->Apply(normalized, piece.origin));
      piece.text = normalized;
      piece = piece.Part(0, normalized.size());
    }
    if (normalized_tokens_.empty()) {
      if (!piece.text.empty()) pieces.push_back(piece);
      continue;
    }
    AddedTokenTrie::Policy inner{options.parse_special_tokens, {}};
    if (special_normalized_ && !policy.literal.empty()) {
      // Where the borders of literal text lie in the normalised piece.
      const auto begin = static_cast<size_t>(before.data() - text.data());
      const auto moved = [&](size_t border) -> absl::StatusOr<size_t> {
        const size_t at = std::clamp(border, begin, begin + before.size()) - begin;
        if (parts_.normalizer == nullptr || at == 0 || at == before.size()) {
          return at == before.size() ? piece.text.size() : at;
        }
        std::string head(before.substr(0, at));
        size_t origin = 0;
        SL_RETURN_IF_ERROR(parts_.normalizer->Apply(head, origin));
        return std::min(head.size(), piece.text.size());
      };
      for (const TextRange range : policy.literal) {
        if (range.end <= begin || range.begin >= begin + before.size()) continue;
        SL_ASSIGN_OR_RETURN(const size_t first, moved(range.begin));
        SL_ASSIGN_OR_RETURN(const size_t last, moved(range.end));
        inner.literal.push_back({first, last});
      }
    }
    normalized_tokens_.Split(piece, inner, pieces);
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeWords(const std::vector<Piece>& pieces,
                                            std::vector<uint32_t>& ids) const {
  const std::unique_ptr<TokenModel::Workspace> workspace = parts_.model->NewWorkspace();
  WordCache cache;
  size_t words = 0;
  const auto encode = [&](std::string_view word) -> absl::Status {
    if (++words <= kUncachedWords || word.size() > kCachedWordBytes) {
      return parts_.model->Encode(word, *workspace, ids);
    }
    WordCache::Entry& entry = cache.Slot(word);
    if (entry.word == word) {
      for (uint32_t i = 0; i < entry.count; ++i) ids.push_back(ids[entry.begin + i]);
      return absl::OkStatus();
    }
    const auto begin = static_cast<uint32_t>(ids.size());
    SL_RETURN_IF_ERROR(parts_.model->Encode(word, *workspace, ids));
    entry = {word, begin, static_cast<uint32_t>(ids.size()) - begin};
    return absl::OkStatus();
  };
  for (const Piece& piece : pieces) {
    if (piece.token >= 0) {
      ids.push_back(static_cast<uint32_t>(piece.token));
      continue;
    }
    for (std::string_view rest = piece.text; !rest.empty();) {
      const size_t length = parts_.model->IndependentPart(rest);
      SL_RETURN_IF_ERROR(encode(rest.substr(0, length)));
      rest.remove_prefix(length);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint32_t>> PipelineTokenizer::Encode(
    std::string_view text, const EncodeOptions& options) const {
  Arena arena;
  EncodeOptions moved;
  const EncodeOptions* used = &options;
  if (!IsWellFormedUtf8(text)) {
    // Borders of literal text move with the bytes that U+FFFD takes.
    moved = options;
    std::string& repaired = arena.New();
    for (EncodeOptions::Range& range : moved.literal_ranges) {
      range.begin = ReplaceIllFormed(text.substr(0, std::min(range.begin, text.size()))).size();
      range.end = ReplaceIllFormed(text.substr(0, std::min(range.end, text.size()))).size();
    }
    repaired = ReplaceIllFormed(text);
    text = repaired;
    used = &moved;
  }
  std::vector<Piece> pieces;
  SL_RETURN_IF_ERROR(Normalize(*used, text, pieces, arena));
  if (parts_.pre_tokenizer != nullptr)
    SL_RETURN_IF_ERROR(parts_.pre_tokenizer->Apply(pieces, arena));
  std::vector<uint32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  SL_RETURN_IF_ERROR(EncodeWords(pieces, ids));
  return parts_.post_processor.Apply(std::move(ids), options.add_special_tokens);
}

}  // namespace shardline
