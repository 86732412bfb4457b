#include "gateway/text/tokenizer/rwkv.h"

namespace shardline {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RwkvModel>> RwkvModel::Create(Vocabulary vocabulary,
                                                             const std::vector<uint32_t>& matched,
                                                             std::optional<uint32_t> unk_id) {
  std::unique_ptr<RwkvModel> model(new RwkvModel(std::move(vocabulary), unk_id));
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  entries.reserve(matched.size());
  for (const uint32_t id : matched) entries.emplace_back(model->vocabulary_.Token(id), id);
  SL_ASSIGN_OR_RETURN(model->trie_, ByteTrie::Build(std::move(entries)));
  return model;
}

absl::Status RwkvModel::Encode(std::string_view word, Workspace&,
                               std::vector<uint32_t>& out) const {
  for (size_t begin = 0; begin < word.size();) {
    uint32_t id = ByteTrie::kNone, node = ByteTrie::kRoot;
    size_t next = begin + 1;
    for (size_t end = begin; end < word.size();) {
      node = trie_.Child(node, word[end++]);
      if (node == ByteTrie::kNone) break;
      if (trie_.Value(node) == ByteTrie::kNone) continue;
      id = trie_.Value(node);
      next = end;
    }
    if (id != ByteTrie::kNone) {
      out.push_back(id);
    } else if (unk_id_) {
      out.push_back(*unk_id_);
    }
    begin = next;
  }
  return absl::OkStatus();
}

std::optional<std::string> BytesOfPythonLiteral(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case 't':
        out.push_back('\t');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case '\\':
      case '\'':
      case '"':
        out.push_back(text[i]);
        break;
      case 'x': {
        const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
        if (high < 0 || low < 0) return std::nullopt;
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return out;
}

}  // namespace shardline
