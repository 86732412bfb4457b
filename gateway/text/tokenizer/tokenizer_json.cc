// tokenizer.json (the format of the `tokenizers` library, version "1.0") and the settings beside
// it.
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "gateway/text/tokenizer/bpe.h"
#include "gateway/text/tokenizer/json_fields.h"
#include "gateway/text/tokenizer/pipeline.h"
#include "gateway/text/tokenizer/tokenizer_files.h"
#include "gateway/text/tokenizer/tokenizer_settings.h"
#include "gateway/text/tokenizer/unigram.h"
#include "gateway/text/utf8.h"
#include "shared/base/file.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr size_t kMaxAddedTokens = 1 << 20;
constexpr double kUnknownPenalty = 10;  // an unknown character scores so much below any token
constexpr size_t kMaxFileBytes = size_t{256} << 20;  // the largest known has 40 MB

absl::StatusOr<Vocabulary> ParseVocabulary(const JsonFields& model) {
  const nlohmann::json* json = model.Find("vocab");
  if (json == nullptr || !json->is_object()) {
    return InvalidArgument(model.Path("vocab"), " must be an object of token: id");
  }
  Vocabulary vocabulary;
  for (const auto& [token, id] : json->items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) {
      return InvalidArgument(model.Path("vocab"), ": the id of ", Quoted(token),
                             " must be a number from 0");
    }
    const absl::Status added = vocabulary.Add(token, id.get<uint32_t>());
    if (!added.ok()) return Annotate(added, model.Path("vocab"));
  }
  return vocabulary;
}

// "a b" or ["a", "b"].
absl::Status ParseMerges(const JsonFields& fields, BpeModel& model) {
  SL_ASSIGN_OR_RETURN(const nlohmann::json* merges, fields.Array("merges"));
  model.ReserveMerges(merges->size());
  uint32_t rank = 0;
  for (size_t i = 0; i < merges->size(); ++i) {
    const nlohmann::json& merge = (*merges)[i];
    const std::string path = Cat(fields.Path("merges"), "[", i, "]");
    std::string_view left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else if (merge.is_string()) {
      const std::string_view line = merge.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
        return InvalidArgument(path, " must be two tokens with a space between");
      }
      left = line.substr(0, space);
      right = line.substr(space + 1);
    } else {
      return InvalidArgument(path, " must be a string or a pair of strings");
    }
    const absl::Status added = model.AddMerge(left, right, rank++);
    if (!added.ok()) return InvalidArgument(path, " ", Message(added));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TokenModel>> ParseBpe(const JsonFields& fields) {
  if (const nlohmann::json* dropout = fields.Find("dropout")) {
    if (!dropout->is_number() || dropout->get<double>() != 0.0) {
      return InvalidArgument("model.dropout must be null: encoding is deterministic");
    }
  }
  BpeOptions options;
  SL_ASSIGN_OR_RETURN(options.unk_token, fields.OptionalString("unk_token"));
  SL_ASSIGN_OR_RETURN(const auto prefix, fields.OptionalString("continuing_subword_prefix"));
  SL_ASSIGN_OR_RETURN(const auto suffix, fields.OptionalString("end_of_word_suffix"));
  options.continuing_subword_prefix = prefix.value_or("");
  options.end_of_word_suffix = suffix.value_or("");
  SL_ASSIGN_OR_RETURN(options.fuse_unk, fields.Bool("fuse_unk", false));
  SL_ASSIGN_OR_RETURN(options.byte_fallback, fields.Bool("byte_fallback", false));
  SL_ASSIGN_OR_RETURN(options.ignore_merges, fields.Bool("ignore_merges", false));
  SL_ASSIGN_OR_RETURN(Vocabulary vocabulary, ParseVocabulary(fields));
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  SL_RETURN_IF_ERROR(ParseMerges(fields, *model));
  model->FindIndependentParts();
  return model;
}

// The contents of special tokens: text that is not parsed for them must not become them either.
std::set<std::string_view> SpecialContents(const JsonFields& file) {
  std::set<std::string_view> contents;
  const nlohmann::json* list = file.Find("added_tokens");
  if (list == nullptr || !list->is_array()) return contents;
  for (const nlohmann::json& token : *list) {  // ParseAddedTokens checks what is skipped here
    if (!token.is_object() || !token.contains("content") || !token["content"].is_string()) continue;
    const bool special = token.contains("special") && token["special"] == true;
    if (special) contents.insert(token["content"].get_ref<const std::string&>());
  }
  return contents;
}

// "vocab": [["▁the", -3.2], …], in the order of ids.
absl::StatusOr<std::unique_ptr<TokenModel>> ParseUnigram(const JsonFields& file,
                                                         const JsonFields& fields) {
  SL_ASSIGN_OR_RETURN(const nlohmann::json* list, fields.Array("vocab"));
  const std::set<std::string_view> special = SpecialContents(file);
  Vocabulary vocabulary;
  std::vector<UnigramModel::Piece> pieces;
  double lowest = std::numeric_limits<double>::infinity();
  for (uint32_t id = 0; id < list->size(); ++id) {
    const nlohmann::json& entry = (*list)[id];
    const std::string path = Cat(fields.Path("vocab"), "[", id, "]");
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return InvalidArgument(path, " must be [token, score]");
    }
    const auto& token = entry[0].get_ref<const std::string&>();
    const auto score = entry[1].get<double>();
    const absl::Status added = vocabulary.Add(token, id);
    if (!added.ok()) return Annotate(added, path);
    lowest = std::min(lowest, score);
    if (!special.contains(token)) pieces.push_back({id, score});
  }
  UnigramOptions options;
  options.unk_score = lowest - kUnknownPenalty;
  SL_ASSIGN_OR_RETURN(options.byte_fallback, fields.Bool("byte_fallback", false));
  if (fields.Find("unk_id") != nullptr) {
    SL_ASSIGN_OR_RETURN(options.unk_id, fields.Uint("unk_id"));
    if (*options.unk_id >= list->size())
      return InvalidArgument(fields.Path("unk_id"), " must be an id below ", list->size());
  }
  return UnigramModel::Create(std::move(vocabulary), pieces, options);
}

absl::StatusOr<std::unique_ptr<TokenModel>> ParseModel(const JsonFields& file) {
  const nlohmann::json* json = file.Find("model");
  if (json == nullptr) return InvalidArgument("model is missing");
  const JsonFields fields(*json, "model");
  SL_ASSIGN_OR_RETURN(std::optional<std::string> type, fields.OptionalString("type"));
  if (!type) {  // old files leave it out
    const nlohmann::json* vocabulary = fields.Find("vocab");
    if (fields.Find("merges") != nullptr) type = "BPE";
    if (vocabulary != nullptr && vocabulary->is_array()) type = "Unigram";
    if (!type) return InvalidArgument("model.type is missing");
  }
  if (*type == "BPE") return ParseBpe(fields);
  if (*type == "Unigram") return ParseUnigram(file, fields);
  return InvalidArgument("model.type ", Quoted(*type), " is not supported (BPE and Unigram are)");
}

// Ids follow the reference, which does not take the file's word for them: a token of the vocabulary
// keeps its id there, others are numbered on behind the vocabulary.
absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(const JsonFields& file,
                                                         const Vocabulary& vocabulary) {
  const JsonFields model(*file.Find("model"), "model");
  const auto model_size = static_cast<int64_t>(model.Find("vocab")->size());
  std::vector<AddedToken> tokens;
  if (file.Find("added_tokens") == nullptr) return tokens;
  SL_ASSIGN_OR_RETURN(const nlohmann::json* list, file.Array("added_tokens"));
  if (list->size() > kMaxAddedTokens)
    return InvalidArgument("added_tokens has ", list->size(), " entries");
  std::map<std::string, size_t, std::less<>> index;
  int64_t max_id = -1;
  for (size_t i = 0; i < list->size(); ++i) {
    const JsonFields fields((*list)[i], Cat("added_tokens[", i, "]"));
    AddedToken token;
    SL_ASSIGN_OR_RETURN(token.content, fields.String("content"));
    SL_RETURN_IF_ERROR(fields.Uint("id").status());
    SL_ASSIGN_OR_RETURN(token.special, fields.Bool("special"));
    SL_ASSIGN_OR_RETURN(token.single_word, fields.Bool("single_word"));
    SL_ASSIGN_OR_RETURN(token.lstrip, fields.Bool("lstrip"));
    SL_ASSIGN_OR_RETURN(token.rstrip, fields.Bool("rstrip"));
    SL_ASSIGN_OR_RETURN(token.normalized, fields.Bool("normalized"));
    if (token.content.empty()) continue;
    if (const auto known = index.find(token.content); known != index.end()) {
      token.id = tokens[known->second].id;
      token.special |= tokens[known->second].special;  // once special, always special
      tokens[known->second] = std::move(token);
      continue;
    }
    if (const auto id = vocabulary.Find(token.content)) {
      token.id = *id;
    } else {
      token.id = static_cast<uint32_t>(std::max(max_id + 1, model_size));
    }
    if (token.id >= Vocabulary::kMaxId)
      return InvalidArgument(fields.path(), " would get id ", token.id);
    max_id = std::max<int64_t>(max_id, token.id);
    index.emplace(token.content, tokens.size());
    tokens.push_back(std::move(token));
  }
  return tokens;
}

absl::StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view text) {
  SL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, "tokenizer.json"));
  if (!json.is_object()) return InvalidArgument("not a JSON object");
  const JsonFields file(json, "");
  SL_ASSIGN_OR_RETURN(const auto version, file.OptionalString("version"));
  if (version && *version != "1.0")
    return InvalidArgument("version ", Quoted(*version), " is not supported");
  for (const char* name : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (const nlohmann::json* part = file.Find(name)) {
      SL_RETURN_IF_ERROR(CheckParts(*part, name));
    }
  }
  TokenizerParts parts;
  SL_ASSIGN_OR_RETURN(parts.model, ParseModel(file));
  SL_ASSIGN_OR_RETURN(parts.added_tokens, ParseAddedTokens(file, parts.model->vocabulary()));
  if (const nlohmann::json* part = file.Find("normalizer")) {
    SL_ASSIGN_OR_RETURN(parts.normalizer, ParseNormalizer(*part, "normalizer"));
  }
  if (const nlohmann::json* part = file.Find("pre_tokenizer")) {
    SL_ASSIGN_OR_RETURN(parts.pre_tokenizer, ParsePreTokenizer(*part, "pre_tokenizer"));
  }
  if (const nlohmann::json* part = file.Find("post_processor")) {
    SL_RETURN_IF_ERROR(ParsePostProcessor(*part, "post_processor", parts.post_processor));
  }
  parts.decoder = Decoder::Spaces();
  if (const nlohmann::json* part = file.Find("decoder")) {
    SL_ASSIGN_OR_RETURN(parts.decoder, Decoder::Parse(*part, "decoder"));
  }
  return parts;
}

// added_tokens_decoder's flags count, not the file's; a token that the file does not have is
// numbered on behind those that it has, as the reference does it.
absl::Status AddTokens(const std::vector<AddedToken>& added, TokenizerParts& parts) {
  std::map<std::string, size_t, std::less<>> index;
  const Vocabulary& vocabulary = parts.model->vocabulary();
  uint32_t next = static_cast<uint32_t>(vocabulary.size());
  for (size_t i = 0; i < parts.added_tokens.size(); ++i) {
    index.emplace(parts.added_tokens[i].content, i);
    next = std::max(next, parts.added_tokens[i].id + 1);
  }
  for (AddedToken token : added) {
    if (const auto known = index.find(token.content); known != index.end()) {
      AddedToken& there = parts.added_tokens[known->second];
      token.id = there.id;
      token.special |= there.special;  // once special, always special
      there = std::move(token);
      continue;
    }
    const auto id = vocabulary.Find(token.content);
    token.id = id ? *id : next++;
    if (token.id >= Vocabulary::kMaxId) {
      return InvalidArgument("added_tokens_decoder: ", Quoted(token.content), " would get id ",
                             token.id);
    }
    parts.added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Finish(TokenizerParts parts) {
  if (parts.eos_id >= 0) parts.eos_ids = {static_cast<uint32_t>(parts.eos_id)};
  return PipelineTokenizer::Create(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJson(std::string_view text) {
  SL_ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(text));
  ApplyEnds({}, parts);
  return Finish(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromJsonFile(const std::string& path) {
  SL_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  absl::StatusOr<TokenizerParts> parts = ParseTokenizerJson(text);
  if (!parts.ok()) return Annotate(parts.status(), path);
  const std::string directory = std::filesystem::path(path).parent_path().string();
  SL_ASSIGN_OR_RETURN(const TokenizerSettings settings, ReadTokenizerSettings(directory));
  const absl::Status added = AddTokens(settings.added_tokens, *parts);
  if (!added.ok()) return Annotate(added, path);
  ApplyEnds(settings, *parts);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Finish(*std::move(parts));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

}  // namespace shardline
