#include "gateway/text/tokenizer/sentencepiece.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr double kUnknownPenalty = 10;  // an unknown character scores so much below any token
constexpr size_t kMaxCutBytes = size_t{1} << 33;  // looked at to find merges: seconds

}  // namespace

absl::Status AddMergesOfScores(const PieceTable& table, BpeModel& model) {
  std::vector<uint32_t> order;
  for (size_t id = 0; id < table.tokens.size(); ++id) {
    if (table.types[id] == kNormal || table.types[id] == kUnused) {
      order.push_back(static_cast<uint32_t>(id));
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return table.scores[a] > table.scores[b]; });
  uint32_t rank = 0;
  size_t looked_at = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && table.scores[order[i]] != table.scores[order[i - 1]]) ++rank;
    const std::string_view token = table.tokens[order[i]];
    if (token.empty()) continue;
    looked_at += token.size() * token.size();
    if (looked_at > kMaxCutBytes) return InvalidArgument("the tokens are too long to merge");
    for (size_t cut = CharacterLength(token[0]); cut < token.size();
         cut += CharacterLength(token[cut])) {
      const auto left = model.vocabulary().Find(token.substr(0, cut));
      const auto right = model.vocabulary().Find(token.substr(cut));
      if (left && right) model.AddMerge(*left, *right, rank, order[i]);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TokenModel>> BpeOfPieces(Vocabulary vocabulary,
                                                        const PieceTable& table,
                                                        std::optional<std::string> unk_token) {
  BpeOptions options;
  options.byte_fallback = true;
  options.fuse_unk = true;
  options.unk_token = std::move(unk_token);
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  SL_RETURN_IF_ERROR(AddMergesOfScores(table, *model));
  model->FindIndependentParts();
  return model;
}

absl::StatusOr<std::unique_ptr<TokenModel>> UnigramOfPieces(Vocabulary vocabulary,
                                                            const PieceTable& table,
                                                            std::optional<uint32_t> unk_id) {
  UnigramOptions options;
  options.unk_id = unk_id;
  std::vector<UnigramModel::Piece> pieces;
  double lowest = std::numeric_limits<double>::infinity();
  for (uint32_t id = 0; id < table.tokens.size(); ++id) {
    options.byte_fallback |= table.types[id] == kByte;
    // What users have added beats every way to spell it.
    if (table.types[id] == kUserDefined) pieces.push_back({id, 0});
    if (table.types[id] != kNormal || table.tokens[id].empty()) continue;
    pieces.push_back({id, table.scores[id]});
    lowest = std::min(lowest, table.scores[id]);
  }
  options.unk_score = lowest - kUnknownPenalty;
  return UnigramModel::Create(std::move(vocabulary), pieces, options);
}

}  // namespace shardline
