#include "gateway/text/tokenizer/bpe.h"

#include <algorithm>

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/tokenizer/merge_queue.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr uint64_t kEmpty = ~uint64_t{0};
constexpr uint32_t kDead = ~uint32_t{0};
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // "▁"
constexpr char32_t kSpaceCharacter = 0x2581;
constexpr size_t kShortWord = 24;  // up to here rescanning beats a heap

uint64_t Pair(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

size_t Slot(uint64_t pair, size_t mask) {
  pair *= 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(pair ^ pair >> 32) & mask;
}

}  // namespace

struct BpeModel::Workspace final : TokenModel::Workspace {
  std::vector<Symbol> symbols;
  MergeQueue queue;
  std::vector<uint64_t> pairs;
};

std::unique_ptr<TokenModel::Workspace> BpeModel::NewWorkspace() const {
  return std::make_unique<Workspace>();
}

BpeModel::BpeModel(Vocabulary vocabulary, BpeOptions options)
    : TokenModel(std::move(vocabulary)), options_(std::move(options)) {
  if (options_.unk_token) unk_id_ = vocabulary_.Find(*options_.unk_token);
  for (int byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.Find(ByteTokenName(static_cast<unsigned char>(byte)));
    byte_tokens_[static_cast<size_t>(byte)] = id ? static_cast<int32_t>(*id) : -1;
  }
  for (size_t c = 0; c < short_table_.size(); ++c) {
    std::string text;
    AppendUtf8(text, static_cast<char32_t>(c));
    const auto id = vocabulary_.Find(text);
    short_table_[c] = id ? static_cast<int32_t>(*id) : -1;
  }
  ReserveMerges(16);
}

void BpeModel::ReserveMerges(size_t count) {
  size_t size = 16;
  while (size < count * 2) size *= 2;
  if (size <= table_.size()) return;
  std::vector<Merge> old(size, Merge{kEmpty, 0, 0});
  old.swap(table_);
  merges_ = 0;
  for (const Merge& merge : old) {
    if (merge.pair == kEmpty) continue;
    AddMerge(static_cast<uint32_t>(merge.pair >> 32), static_cast<uint32_t>(merge.pair), merge.rank,
             merge.merged);
  }
}

void BpeModel::AddMerge(uint32_t left, uint32_t right, uint32_t rank, uint32_t merged) {
  if ((merges_ + 1) * 2 > table_.size()) ReserveMerges(table_.size());
  const uint64_t pair = Pair(left, right);
  size_t slot = Slot(pair, table_.size() - 1);
  while (table_[slot].pair != kEmpty && table_[slot].pair != pair)
    slot = (slot + 1) & (table_.size() - 1);
  if (table_[slot].pair == kEmpty) ++merges_;
  table_[slot] = {pair, rank, merged};
}

absl::Status BpeModel::AddMerge(std::string_view left, std::string_view right, uint32_t rank) {
  const auto left_id = vocabulary_.Find(left), right_id = vocabulary_.Find(right);
  if (!left_id || !right_id) {
    return InvalidArgument("merges ", Quoted(left_id ? right : left), ", which is no token");
  }
  const size_t prefix = options_.continuing_subword_prefix.size();
  if (right.size() < prefix)
    return InvalidArgument("merges ", Quoted(right), ", shorter than the subword prefix");
  const std::string merged = Cat(left, right.substr(prefix));
  const auto merged_id = vocabulary_.Find(merged);
  if (!merged_id) return InvalidArgument("merges into ", Quoted(merged), ", which is no token");
  AddMerge(*left_id, *right_id, rank, *merged_id);
  return absl::OkStatus();
}

const BpeModel::Merge* BpeModel::Find(uint32_t left, uint32_t right) const {
  const uint64_t pair = Pair(left, right);
  const size_t mask = table_.size() - 1;
  for (size_t slot = Slot(pair, mask);; slot = (slot + 1) & mask) {
    if (table_[slot].pair == pair) return &table_[slot];
    if (table_[slot].pair == kEmpty) return nullptr;
  }
}

std::optional<uint32_t> BpeModel::CharacterToken(std::string_view word, size_t begin,
                                                 size_t end) const {
  const std::string_view text = word.substr(begin, end - begin);
  const bool prefixed = begin > 0 && !options_.continuing_subword_prefix.empty();
  const bool suffixed = end == word.size() && !options_.end_of_word_suffix.empty();
  if (!prefixed && !suffixed) return vocabulary_.Find(text);
  return vocabulary_.Find(Cat(prefixed ? std::string_view(options_.continuing_subword_prefix) : "",
                              text, suffixed ? std::string_view(options_.end_of_word_suffix) : ""));
}

absl::Status BpeModel::Characters(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  const auto add = [&](uint32_t id) { symbols.push_back({id, 0, 0}); };
  const bool plain =
      options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  bool pending_unk = false;
  for (size_t i = 0; i < word.size();) {
    const size_t begin = i;
    const char32_t c = NextCharacter(word, &i);
    std::optional<uint32_t> id;
    if (plain && c < short_table_.size()) {
      if (short_table_[c] >= 0) id = static_cast<uint32_t>(short_table_[c]);
    } else {
      id = CharacterToken(word, begin, i);
    }
    if (id) {
      if (pending_unk) add(*unk_id_);
      pending_unk = false;
      add(*id);
      continue;
    }
    if (options_.byte_fallback) {
      // The bytes of the character with its prefix and suffix, if all of them are tokens. A pending
      // unk_token comes behind them, as in the reference.
      std::string bytes(begin > 0 ? options_.continuing_subword_prefix : std::string());
      bytes.append(word, begin, i - begin);
      if (i == word.size()) bytes += options_.end_of_word_suffix;
      const bool known = std::all_of(bytes.begin(), bytes.end(), [this](char byte) {
        return byte_tokens_[static_cast<unsigned char>(byte)] >= 0;
      });
      if (known) {
        for (const char byte : bytes)
          add(static_cast<uint32_t>(byte_tokens_[static_cast<unsigned char>(byte)]));
        continue;
      }
    }
    if (!options_.unk_token) continue;
    if (!unk_id_)
      return InvalidArgument("model.unk_token ", Quoted(*options_.unk_token), " is no token");
    if (pending_unk && !options_.fuse_unk) add(*unk_id_);
    pending_unk = true;
  }
  if (pending_unk) add(*unk_id_);
  return absl::OkStatus();
}

// Few symbols: look for the best pair anew after each merge.
void BpeModel::MergeShort(Workspace& workspace) const {
  auto& symbols = workspace.symbols;
  auto& pairs = workspace.pairs;  // rank and merged id of (i, i+1); kEmpty: none
  const auto lookup = [&](size_t i) {
    const Merge* merge = Find(symbols[i].id, symbols[i + 1].id);
    return merge == nullptr ? kEmpty : Pair(merge->rank, merge->merged);
  };
  pairs.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) pairs.push_back(lookup(i));
  while (!pairs.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < pairs.size(); ++i) {
      if (pairs[i] >> 32 < pairs[best] >> 32) best = i;
    }
    if (pairs[best] == kEmpty) return;
    symbols[best].id = static_cast<uint32_t>(pairs[best]);
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    pairs.erase(pairs.begin() + static_cast<ptrdiff_t>(best));
    if (best < pairs.size()) pairs[best] = lookup(best);
    if (best > 0) pairs[best - 1] = lookup(best - 1);
  }
}

void BpeModel::MergeLong(Workspace& workspace) const {
  auto& symbols = workspace.symbols;
  MergeQueue& queue = workspace.queue;
  queue.Clear();
  const auto size = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < size; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < size ? i + 1 : -1;
  }
  const auto offer = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Merge* merge = Find(symbols[left].id, symbols[symbols[left].next].id);
    if (merge != nullptr) queue.Push({merge->rank, left});
  };
  for (int32_t i = 0; i < size; ++i) offer(i);
  MergeQueue::Candidate top;
  while (queue.Pop(&top)) {
    Symbol& left = symbols[top.position];
    if (left.id == kDead || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const Merge* merge = Find(left.id, right.id);  // the pair may have changed since
    if (merge == nullptr || merge->rank != top.rank) continue;
    left.id = merge->merged;
    left.next = right.next;
    right.id = kDead;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    offer(left.previous);
    offer(top.position);
  }
  std::erase_if(symbols, [](const Symbol& s) { return s.id == kDead; });
}

// Merges make tokens, so none reaches over a border that is inside no token. Unknown characters and
// bytes are merged under names of their own; they must not be able to join a "▁" either.
void BpeModel::FindIndependentParts() {
  const bool plain =
      options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  if (!plain || options_.ignore_merges || !vocabulary_.Find(kSpaceMark)) return;
  for (uint32_t id = 0; id < vocabulary_.id_limit(); ++id) {
    const std::string_view token = vocabulary_.Token(id);
    char32_t previous = 0;
    for (size_t i = 0; i < token.size();) {
      const bool mark = token.substr(i).starts_with(kSpaceMark);
      if (mark && i > 0 && previous != kSpaceCharacter) joined_before_space_.insert(previous);
      previous = NextCharacter(token, &i);
    }
  }
  if (joined_before_space_.contains('>')) return;  // "<0x41>▁" might be a merge
  if (options_.unk_token && !options_.unk_token->empty()) {
    char32_t last = 0;
    for (size_t i = 0; i < options_.unk_token->size();)
      last = NextCharacter(*options_.unk_token, &i);
    if (joined_before_space_.contains(last)) return;
  }
  cuts_ = true;
}

size_t BpeModel::IndependentPart(std::string_view text) const {
  if (!cuts_) return text.size();
  for (size_t at = 0; (at = text.find(kSpaceMark, at)) != std::string_view::npos;
       at += kSpaceMark.size()) {
    if (at == 0) continue;
    size_t before = at - 1;
    while ((static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    const char32_t previous = NextCharacter(text, &before);
    if (previous != kSpaceCharacter && !joined_before_space_.contains(previous)) return at;
  }
  return text.size();
}

absl::Status BpeModel::Encode(std::string_view word, TokenModel::Workspace& memory,
                              std::vector<uint32_t>& out) const {
  auto& workspace = static_cast<Workspace&>(memory);
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_.Find(word)) {
      out.push_back(*id);
      return absl::OkStatus();
    }
  }
  SL_RETURN_IF_ERROR(Characters(word, workspace.symbols));
  if (workspace.symbols.size() <= kShortWord) {
    MergeShort(workspace);
  } else {
    MergeLong(workspace);
  }
  for (const Symbol& symbol : workspace.symbols) out.push_back(symbol.id);
  return absl::OkStatus();
}

}  // namespace shardline
