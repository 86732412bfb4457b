#include "gateway/text/tokenizer/unigram.h"

#include <algorithm>
#include <bit>

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr uint32_t kNowhere = ~uint32_t{0};  // no piece ends here (yet)
constexpr uint32_t kUnknown = kNowhere - 1;  // an unknown character ends here
constexpr size_t kLongestCharacter = 4;      // bytes

}  // namespace

struct UnigramModel::Workspace final : TokenModel::Workspace {
  std::vector<uint32_t> ends;  // by byte: the id that the best path so far ends with there
  std::vector<double> scores;  // of those paths, the last `window_` bytes of them
  std::vector<uint32_t> reversed;
};

UnigramModel::UnigramModel(Vocabulary vocabulary, UnigramOptions options)
    : TokenModel(std::move(vocabulary)), options_(options) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.Find(ByteTokenName(static_cast<unsigned char>(byte)));
    byte_tokens_[static_cast<size_t>(byte)] = id ? static_cast<int32_t>(*id) : -1;
  }
}

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::Create(Vocabulary vocabulary,
                                                                   const std::vector<Piece>& pieces,
                                                                   UnigramOptions options) {
  std::unique_ptr<UnigramModel> model(new UnigramModel(std::move(vocabulary), options));
  model->pieces_ = pieces;
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  entries.reserve(pieces.size());
  for (uint32_t i = 0; i < pieces.size(); ++i) {
    entries.emplace_back(model->vocabulary_.Token(pieces[i].id), i);
  }
  SL_ASSIGN_OR_RETURN(model->trie_, ByteTrie::Build(std::move(entries)));
  model->window_ = std::bit_ceil(std::max(model->trie_.longest(), kLongestCharacter) + 1);
  return model;
}

std::unique_ptr<TokenModel::Workspace> UnigramModel::NewWorkspace() const {
  auto space = std::make_unique<Workspace>();
  space->scores.resize(window_);
  return space;
}

absl::Status UnigramModel::FindBestPath(std::string_view word, Workspace& space) const {
  const size_t size = word.size(), mask = window_ - 1;
  space.ends.assign(size + 1, kNowhere);
  space.scores[0] = 0;
  const auto offer = [&](size_t end, uint32_t id, double score) {
    if (space.ends[end] != kNowhere && !(score > space.scores[end & mask])) return;
    space.ends[end] = id;
    space.scores[end & mask] = score;
  };
  for (size_t begin = 0; begin < size;) {
    const double here = space.scores[begin & mask];
    const size_t next = begin + CharacterLength(word[begin]);
    bool whole_character = false;
    uint32_t node = ByteTrie::kRoot;
    for (size_t end = begin; end < size;) {
      node = trie_.Child(node, word[end++]);
      if (node == ByteTrie::kNone) break;
      const uint32_t index = trie_.Value(node);
      if (index == ByteTrie::kNone) continue;
      offer(end, pieces_[index].id, here + pieces_[index].score);
      whole_character |= end == next;
    }
    if (!whole_character) {
      if (!options_.unk_id)
        return InvalidArgument("a character is no token, and there is no unk_id");
      offer(next, kUnknown, here + options_.unk_score);
    }
    begin = next;
  }
  return absl::OkStatus();
}

// What a run of unknown characters becomes, last token first.
void UnigramModel::AppendUnknown(std::string_view run, std::vector<uint32_t>& reversed) const {
  // Together they may be a token that scores worse than its characters.
  if (const uint32_t index = trie_.Find(run); index != ByteTrie::kNone) {
    reversed.push_back(pieces_[index].id);
    return;
  }
  const auto token = [this](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
  const bool bytes = options_.byte_fallback && std::all_of(run.begin(), run.end(), [&](char byte) {
                       return token(byte) >= 0;
                     });
  if (!bytes) {
    reversed.push_back(*options_.unk_id);
    return;
  }
  for (size_t i = run.size(); i-- > 0;) reversed.push_back(static_cast<uint32_t>(token(run[i])));
}

absl::Status UnigramModel::Encode(std::string_view word, TokenModel::Workspace& workspace,
                                  std::vector<uint32_t>& out) const {
  auto& space = static_cast<Workspace&>(workspace);
  SL_RETURN_IF_ERROR(FindBestPath(word, space));
  space.reversed.clear();
  size_t run_end = 0;  // of unknown characters; 0: none
  for (size_t end = word.size(); end > 0;) {
    const uint32_t id = space.ends[end];
    size_t begin = end;
    if (id == kUnknown) {
      do --begin;
      while ((static_cast<unsigned char>(word[begin]) & 0xC0) == 0x80);
    } else {
      begin -= vocabulary_.Token(id).size();
    }
    const bool unknown = id == kUnknown || id == options_.unk_id;
    if (unknown && run_end == 0) run_end = end;
    if (!unknown) {
      if (run_end != 0) AppendUnknown(word.substr(end, run_end - end), space.reversed);
      run_end = 0;
      space.reversed.push_back(id);
    }
    end = begin;
  }
  if (run_end != 0) AppendUnknown(word.substr(0, run_end), space.reversed);
  out.insert(out.end(), space.reversed.rbegin(), space.reversed.rend());
  return absl::OkStatus();
}

}  // namespace shardline
