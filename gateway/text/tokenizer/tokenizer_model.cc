// Vocabularies that are published without a tokenizer.json: SentencePiece's own file, and
// tiktoken's list of byte strings as GLM-4's first layout has it.
#include <absl/strings/escaping.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <unordered_set>

#include "gateway/text/tokenizer/byte_alphabet.h"
#include "gateway/text/tokenizer/charsmap_normalizers.h"
#include "gateway/text/tokenizer/pre_patterns.h"
#include "gateway/text/tokenizer/sentencepiece.h"
#include "gateway/text/tokenizer/sentencepiece_file.h"
#include "gateway/text/tokenizer/tokenizer_files.h"
#include "gateway/text/tokenizer/tokenizer_settings.h"
#include "shared/base/file.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;  // the largest known has 5 MB
constexpr size_t kMaxTokenBytes = 4096;

// Classes whose special tokens are in their code, not in a file.
struct TokenizerClass {
  std::string_view name;
  std::vector<const char*> tokens;  // numbered on behind the file's
  std::vector<const char*> before;  // put in front of every text
};

const TokenizerClass* FindClass(std::string_view name) {
  static const std::vector<TokenizerClass> classes = {
      // The roles are ChatGLM3's; ChatGLM2 has no use for their ids.
      {"ChatGLMTokenizer",
       {"[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>",
        "<|observation|>"},
       {"[gMASK]", "sop"}},
      {"ChatGLM4Tokenizer", {}, {"[gMASK]", "<sop>"}},
  };
  for (const TokenizerClass& each : classes) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

// Those that settings name take the place of the file's with the same text or the same id.
void AddTokensOfSettings(const TokenizerSettings& settings, TokenizerParts& parts) {
  std::vector<AddedToken> of_class;
  if (const TokenizerClass* known = FindClass(settings.tokenizer_class)) {
    for (const char* content : known->tokens) {
      AddedToken token;
      token.content = content;
      token.id = parts.model->vocabulary().id_limit() + static_cast<uint32_t>(of_class.size());
      token.special = true;
      of_class.push_back(std::move(token));
    }
  }
  std::vector<AddedToken> all;
  std::unordered_set<uint32_t> ids;
  std::unordered_set<std::string> contents;
  for (const std::vector<AddedToken>& tokens :
       {settings.added_tokens, settings.vocabulary_tokens, of_class, parts.added_tokens}) {
    for (const AddedToken& token : tokens) {
      if (ids.contains(token.id) || contents.contains(token.content)) continue;
      ids.insert(token.id);
      contents.insert(token.content);
      all.push_back(token);
    }
  }
  parts.added_tokens = std::move(all);
}

absl::Status AddBefore(const TokenizerSettings& settings, bool add_bos, TokenizerParts& parts) {
  std::vector<uint32_t> before, after;
  const TokenizerClass* known = FindClass(settings.tokenizer_class);
  if (known != nullptr) {
    for (const char* content : known->before) {
      const int64_t id = FindToken(parts, content);
      if (id < 0) {
        return InvalidArgument("tokenizer_class ", known->name, " needs a token ", content,
                               " in tokenizer_config.json's added_tokens_decoder");
      }
      before.push_back(static_cast<uint32_t>(id));
    }
  } else if (parts.bos_id >= 0 && settings.add_bos_token.value_or(add_bos)) {
    before.push_back(static_cast<uint32_t>(parts.bos_id));
  }
  if (parts.eos_id >= 0 && settings.add_eos_token.value_or(false)) {
    after.push_back(static_cast<uint32_t>(parts.eos_id));
  }
  parts.post_processor = PostProcessor();
  parts.post_processor.AddAround(std::move(before), std::move(after));
  return absl::OkStatus();
}

int64_t ControlToken(const SentencePieceFile& file, const Vocabulary& vocabulary,
                     std::string_view piece) {
  const auto id = vocabulary.Find(piece);
  return id && file.types[*id] == kControl ? static_cast<int64_t>(*id) : -1;
}

absl::StatusOr<TokenizerParts> SentencePieceParts(std::string_view bytes,
                                                  const TokenizerSettings& settings) {
  SL_ASSIGN_OR_RETURN(const SentencePieceFile file, ParseSentencePieceFile(bytes));
  TokenizerParts parts;
  Vocabulary vocabulary;
  for (uint32_t id = 0; id < file.tokens.size(); ++id) {
    if (const auto twin = vocabulary.Find(file.tokens[id])) {
      return InvalidArgument("pieces[", id, "] is the same as [", *twin,
                             "]: ", Quoted(file.tokens[id]));
    }
    SL_RETURN_IF_ERROR(vocabulary.Add(file.tokens[id], id));
    const int64_t type = file.types[id];
    if (type != kControl && type != kUnknown && type != kUserDefined) continue;
    AddedToken token;
    token.content = file.tokens[id];
    token.id = id;
    token.special = type != kUserDefined;
    parts.added_tokens.push_back(std::move(token));
  }
  parts.bos_id = ControlToken(file, vocabulary, file.bos_piece);
  parts.eos_id = ControlToken(file, vocabulary, file.eos_piece);

  SentencePieceRules rules;
  rules.add_space_prefix = file.add_dummy_prefix;
  rules.remove_extra_spaces = file.remove_extra_whitespaces;
  if (!file.charsmap.empty()) {
    absl::StatusOr<Charsmap> map = Charsmap::Parse(file.charsmap);
    if (!map.ok()) return Annotate(map.status(), "normalizer_spec.precompiled_charsmap");
    rules.map = *std::move(map);
  }
  parts.normalizer = MakeSentencePieceNormalizer(std::move(rules));
  parts.decoder = Decoder::SentencePiece(file.add_dummy_prefix);

  const PieceTable table = {file.tokens, file.types, file.scores};
  const bool bpe = file.model_type == SentencePieceFile::kBpe;
  const std::optional<uint32_t> unknown = vocabulary.Find(file.unk_piece);
  if (!unknown) return InvalidArgument("has no piece ", Quoted(file.unk_piece));
  if (bpe) {
    SL_ASSIGN_OR_RETURN(parts.model,
                        BpeOfPieces(std::move(vocabulary), table, std::string(file.unk_piece)));
  } else {
    SL_ASSIGN_OR_RETURN(parts.model, UnigramOfPieces(std::move(vocabulary), table, unknown));
  }
  AddTokensOfSettings(settings, parts);
  ApplyEnds(settings, parts);
  // Llama's classes add a BOS unless told not to; of others nothing is known.
  const std::string& name = settings.tokenizer_class;
  const bool llama = name.empty() || name == "LlamaTokenizer" || name == "CodeLlamaTokenizer" ||
                     name == "GemmaTokenizer";
  SL_RETURN_IF_ERROR(AddBefore(settings, llama && bpe, parts));
  return parts;
}

// Lines "BASE64 RANK": a token's bytes, and its id, which is also the rank of the merge it is.
absl::StatusOr<TokenizerParts> TiktokenParts(std::string_view text,
                                             const TokenizerSettings& settings) {
  if (settings.tokenizer_class != "ChatGLM4Tokenizer") {
    return InvalidArgument(
        "is neither a SentencePiece model nor, by tokenizer_config.json's tokenizer_class, that of "
        "ChatGLM4Tokenizer: put the model's tokenizer.json beside it");
  }
  Vocabulary vocabulary;
  std::vector<double> scores;
  for (size_t line = 1; !text.empty(); ++line) {
    const std::string_view entry = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    if (entry.empty()) continue;
    const size_t space = entry.find(' ');
    std::string bytes, token;
    uint32_t rank = 0;
    bool fits = space != std::string_view::npos && entry.size() <= kMaxTokenBytes &&
                absl::Base64Unescape(std::string(entry.substr(0, space)), &bytes) && !bytes.empty();
    if (fits) {
      const char* end = entry.data() + entry.size();
      const auto parsed = std::from_chars(entry.data() + space + 1, end, rank);
      fits = parsed.ec == std::errc() && parsed.ptr == end && rank < Vocabulary::kMaxId;
    }
    if (!fits) return InvalidArgument("line ", line, " is not a token in base64 and its rank");
    for (const char byte : bytes) AppendByteAsCharacter(token, byte);
    if (vocabulary.Find(token)) return InvalidArgument("line ", line, " has a token again");
    SL_RETURN_IF_ERROR(Annotate(vocabulary.Add(token, rank), Cat("line ", line)));
    scores.resize(std::max<size_t>(scores.size(), rank + 1));
    scores[rank] = -static_cast<double>(rank);
  }
  BpeOptions options;
  options.ignore_merges = true;
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  std::vector<std::string_view> tokens(scores.size());
  for (uint32_t id = 0; id < tokens.size(); ++id) tokens[id] = model->vocabulary().Token(id);
  const std::vector<int64_t> types(tokens.size(), kNormal);
  SL_RETURN_IF_ERROR(AddMergesOfScores({tokens, types, scores}, *model));

  TokenizerParts parts;
  parts.model = std::move(model);
  SL_ASSIGN_OR_RETURN(GgufPreTokenizer pre, GgufPreTokenizerNamed("chatglm-bpe"));
  parts.pre_tokenizer = std::move(pre.pre_tokenizer);
  AddTokensOfSettings(settings, parts);
  ApplyEnds(settings, parts);
  SL_RETURN_IF_ERROR(AddBefore(settings, false, parts));
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromModelFile(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(path, kMaxFileBytes));
  SL_ASSIGN_OR_RETURN(const TokenizerSettings settings,
                      ReadTokenizerSettings(std::filesystem::path(path).parent_path().string()));
  // The tag of the message's first field, which is no letter of base64.
  absl::StatusOr<TokenizerParts> parts = bytes.starts_with('\n')
                                             ? SentencePieceParts(bytes, settings)
                                             : TiktokenParts(bytes, settings);
  if (!parts.ok()) return Annotate(parts.status(), path);
  if (parts->eos_id >= 0) parts->eos_ids = {static_cast<uint32_t>(parts->eos_id)};
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      PipelineTokenizer::Create(*std::move(parts));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

}  // namespace shardline
