// Vocabularies in GGUF metadata (tokenizer.ggml.*): model "gpt2" is byte-level BPE with merges,
// "llama" SentencePiece's BPE, whose merges follow from the scores of its tokens, "t5"
// SentencePiece's Unigram, "rwkv" RWKV's World vocabulary.
#include <algorithm>
#include <cmath>
#include <string>

#include "gateway/text/tokenizer/bpe.h"
#include "gateway/text/tokenizer/charsmap_normalizers.h"
#include "gateway/text/tokenizer/pipeline.h"
#include "gateway/text/tokenizer/pre_patterns.h"
#include "gateway/text/tokenizer/rwkv.h"
#include "gateway/text/tokenizer/sentencepiece.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // "▁"
constexpr size_t kMaxTokenBytes = 4096;

// End-of-generation tokens that many files do not declare, or not as control tokens.
constexpr std::string_view kEndLiterals[] = {"<|eot_id|>",
                                             "<|im_end|>",
                                             "<|end|>",
                                             "<|return|>",
                                             "<|call|>",
                                             "<|flush|>",
                                             "<|calls|>",
                                             "<end_of_turn>",
                                             "<|eom_id|>",
                                             "<EOT>",
                                             "_<EOT>",
                                             "[EOT]",
                                             "[EOS]",
                                             "<eos>",
                                             "</s>",
                                             "<|endoftext|>",
                                             "<turn|>",
                                             "[e~[",
                                             "<|end_of_text|>",
                                             "<end_of_utterance>",
                                             "<|tool_response>",
                                             "<｜end▁of▁sentence｜>"};
std::string Key(std::string_view name) { return Cat("tokenizer.ggml.", name); }

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  absl::Status ReadTokens() {
    const GgufArray* tokens = file_.Array(Key("tokens"));
    if (tokens == nullptr || tokens->kind != GgufArray::Kind::kString) {
      return InvalidArgument(Key("tokens"), " must be a list of strings");
    }
    tokens_ = tokens->strings;
    if (tokens_.empty() || tokens_.size() > Vocabulary::kMaxId) {
      return InvalidArgument(Key("tokens"), " has ", tokens_.size(), " entries");
    }
    const GgufTensor* embedding = file_.FindTensor("token_embd.weight");
    if (embedding != nullptr && embedding->shape[0] != static_cast<int64_t>(tokens_.size())) {
      return InvalidArgument(Key("tokens"), " has ", tokens_.size(),
                             " entries, token_embd.weight has ", embedding->shape[0], " rows");
    }
    types_.assign(tokens_.size(), kNormal);
    if (file_.Find(Key("token_type")) != nullptr) {
      SL_RETURN_IF_ERROR(ReadTypes());
    }
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_[id].size() > kMaxTokenBytes || !IsWellFormedUtf8(tokens_[id])) {
        return InvalidArgument(Key("tokens"), "[", id, "] is not UTF-8 text of at most ",
                               kMaxTokenBytes, " bytes");
      }
      if (tokens_[id].empty()) continue;
      if (const auto twin = vocabulary_.Find(tokens_[id])) {
        return InvalidArgument(Key("tokens"), "[", id, "] is the same as [", *twin,
                               "]: ", Quoted(tokens_[id]));
      }
      SL_RETURN_IF_ERROR(vocabulary_.Add(tokens_[id], static_cast<uint32_t>(id)));
      AddIfFoundWhole(tokens_[id], static_cast<uint32_t>(id));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TokenizerParts> ByteLevel() {
    const std::string_view pre = file_.String(Key("pre")).value_or("");
    if (file_.Find(Key("pre")) != nullptr && !file_.String(Key("pre"))) {
      return InvalidArgument(Key("pre"), " must be a string");
    }
    SL_ASSIGN_OR_RETURN(GgufPreTokenizer named, GgufPreTokenizerNamed(pre));
    parts_.pre_tokenizer = std::move(named.pre_tokenizer);
    BpeOptions options;
    options.ignore_merges = named.ignore_merges;
    auto model = std::make_unique<BpeModel>(std::move(vocabulary_), std::move(options));
    const GgufArray* merges = file_.Array(Key("merges"));
    if (merges == nullptr || merges->kind != GgufArray::Kind::kString) {
      return InvalidArgument(Key("merges"), " must be a list of strings");
    }
    model->ReserveMerges(merges->strings.size());
    for (size_t i = 0; i < merges->strings.size(); ++i) {
      const std::string_view merge = merges->strings[i];
      // A token may begin with a space of its own: the separator is never the first byte.
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos) {
        return InvalidArgument(Key("merges"), "[", i, "] must be two tokens with a space between");
      }
      const absl::Status added = model->AddMerge(merge.substr(0, space), merge.substr(space + 1),
                                                 static_cast<uint32_t>(i));
      if (!added.ok()) return InvalidArgument(Key("merges"), "[", i, "] ", Message(added));
    }
    parts_.model = std::move(model);
    parts_.decoder = Decoder::ByteLevel();
    SL_RETURN_IF_ERROR(Ends({.add_bos = named.add_bos}));
    return std::move(parts_);
  }

  absl::StatusOr<TokenizerParts> SentencePiece() {
    SL_ASSIGN_OR_RETURN(const bool prefix, Flag("add_space_prefix", true));
    std::vector<std::unique_ptr<Normalizer>> steps;
    if (prefix) steps.push_back(MakePrepend(std::string(kSpaceMark)));
    steps.push_back(MakeReplace(" ", std::string(kSpaceMark)));
    parts_.normalizer = MakeSequence(std::move(steps));
    SL_ASSIGN_OR_RETURN(const int64_t unknown, Id("unknown_token_id", 0));
    std::optional<std::string> unk_token;
    if (unknown >= 0 && !tokens_[static_cast<size_t>(unknown)].empty()) {
      unk_token = std::string(tokens_[static_cast<size_t>(unknown)]);
    }
    SL_ASSIGN_OR_RETURN(const std::vector<double> scores, Scores());
    auto model = BpeOfPieces(std::move(vocabulary_), {tokens_, types_, scores}, unk_token);
    if (!model.ok()) return Annotate(model.status(), Key("tokens"));
    parts_.model = *std::move(model);
    parts_.decoder = Decoder::SentencePiece(prefix);
    SL_RETURN_IF_ERROR(Ends({.add_bos = true, .bos = 1, .eos = 2}));
    StripBehindPhi3();
    return std::move(parts_);
  }

  absl::StatusOr<TokenizerParts> Unigram() {
    SL_ASSIGN_OR_RETURN(SentencePieceRules rules, SentencePieceNormalization());
    parts_.decoder = Decoder::SentencePiece(rules.add_space_prefix);
    parts_.normalizer = MakeSentencePieceNormalizer(std::move(rules));
    SL_ASSIGN_OR_RETURN(const std::vector<double> scores, Scores());
    SL_ASSIGN_OR_RETURN(const int64_t unknown, Id("unknown_token_id", 2));
    std::optional<uint32_t> unk_id;
    if (unknown >= 0) unk_id = static_cast<uint32_t>(unknown);
    SL_ASSIGN_OR_RETURN(parts_.model,
                        UnigramOfPieces(std::move(vocabulary_), {tokens_, types_, scores}, unk_id));
    SL_RETURN_IF_ERROR(Ends({.add_eos = true, .eos = 1}));
    return std::move(parts_);
  }

  // Tokens are bytes, written as in a Python bytes literal.
  absl::StatusOr<TokenizerParts> Rwkv() {
    Vocabulary vocabulary;
    std::vector<uint32_t> matched;
    parts_.added_tokens.clear();
    for (uint32_t id = 0; id < tokens_.size(); ++id) {
      const std::optional<std::string> bytes = BytesOfPythonLiteral(tokens_[id]);
      if (!bytes) {
        return InvalidArgument(Key("tokens"), "[", id,
                               "] is not a token's bytes: ", Quoted(tokens_[id]));
      }
      if (bytes->empty()) continue;
      if (const auto twin = vocabulary.Find(*bytes)) {
        return InvalidArgument(Key("tokens"), "[", id, "] has the bytes of [", *twin,
                               "]: ", Quoted(tokens_[id]));
      }
      SL_RETURN_IF_ERROR(vocabulary.Add(*bytes, id));
      if (types_[id] == kNormal || types_[id] == kUndefined) matched.push_back(id);
      AddIfFoundWhole(*bytes, id);
    }
    SL_ASSIGN_OR_RETURN(const int64_t unknown, Id("unknown_token_id", -1));
    std::optional<uint32_t> unk_id;
    if (unknown >= 0) unk_id = static_cast<uint32_t>(unknown);
    SL_ASSIGN_OR_RETURN(parts_.model, RwkvModel::Create(std::move(vocabulary), matched, unk_id));
    parts_.decoder = Decoder();
    SL_RETURN_IF_ERROR(Ends({}));
    return std::move(parts_);
  }

 private:
  void AddIfFoundWhole(std::string_view content, uint32_t id) {
    const int64_t type = types_[id];
    if (type != kUnknown && type != kControl && type != kUserDefined) return;
    AddedToken added;
    added.content = content;
    added.id = id;
    added.special = type != kUserDefined;
    parts_.added_tokens.push_back(std::move(added));
  }

  absl::Status ReadTypes() {
    const GgufArray* types = file_.Array(Key("token_type"));
    const bool ints = types != nullptr && types->kind == GgufArray::Kind::kInt;
    const bool uints = types != nullptr && types->kind == GgufArray::Kind::kUint;
    if ((!ints && !uints) || types->size != tokens_.size()) {
      return InvalidArgument(Key("token_type"), " must be a list of ", tokens_.size(), " integers");
    }
    for (size_t i = 0; i < tokens_.size(); ++i) {
      types_[i] = ints ? types->ints[i] : static_cast<int64_t>(types->uints[i]);
      if (types_[i] < 0 || types_[i] > kByte) {
        return InvalidArgument(Key("token_type"), "[", i, "] is not in 0..", int64_t{kByte});
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<double>> Scores() const {
    const GgufArray* scores = file_.Array(Key("scores"));
    const bool floats = scores != nullptr && scores->kind == GgufArray::Kind::kFloat;
    const bool ints = scores != nullptr && scores->kind == GgufArray::Kind::kInt;
    if ((!floats && !ints) || scores->size != tokens_.size()) {
      return InvalidArgument(Key("scores"), " must be a list of ", tokens_.size(), " floats");
    }
    if (ints) return std::vector<double>(scores->ints.begin(), scores->ints.end());
    for (size_t id = 0; id < scores->floats.size(); ++id) {
      if (std::isnan(scores->floats[id]))
        return InvalidArgument(Key("scores"), "[", id, "] is not a number");
    }
    return scores->floats;
  }

  absl::StatusOr<SentencePieceRules> SentencePieceNormalization() const {
    SentencePieceRules rules;
    rules.add_space_prefix = file_.Bool(Key("add_space_prefix")).value_or(true);
    rules.remove_extra_spaces = file_.Bool(Key("remove_extra_whitespaces")).value_or(true);
    if (file_.Find(Key("precompiled_charsmap")) == nullptr) return rules;
    const GgufArray* map = file_.Array(Key("precompiled_charsmap"));
    const bool uints = map != nullptr && map->kind == GgufArray::Kind::kUint;
    const bool ints = map != nullptr && map->kind == GgufArray::Kind::kInt;
    if (!uints && !ints) {
      return InvalidArgument(Key("precompiled_charsmap"), " must be a list of bytes");
    }
    const std::string bytes = ints ? std::string(map->ints.begin(), map->ints.end())
                                   : std::string(map->uints.begin(), map->uints.end());
    if (bytes.empty()) return rules;
    absl::StatusOr<Charsmap> parsed = Charsmap::Parse(bytes);
    if (!parsed.ok()) return Annotate(parsed.status(), Key("precompiled_charsmap"));
    rules.map = *std::move(parsed);
    return rules;
  }

  absl::StatusOr<bool> Flag(std::string_view name, bool fallback) const {
    if (file_.Find(Key(name)) == nullptr) return fallback;
    const std::optional<bool> flag = file_.Bool(Key(name));
    if (!flag) return InvalidArgument(Key(name), " must be true or false");
    return *flag;
  }

  // An id from the metadata; -1 where there is neither the key nor a usable fallback.
  absl::StatusOr<int64_t> Id(std::string_view name, int64_t fallback) const {
    const auto size = static_cast<int64_t>(tokens_.size());
    if (file_.Find(Key(name)) == nullptr) return fallback < size ? fallback : -1;
    const std::optional<int64_t> id = file_.Int(Key(name));
    if (id && (*id == -1 || *id == 0xFFFFFFFF)) return -1;  // written for "none"
    if (!id || *id < 0 || *id >= size)
      return InvalidArgument(Key(name), " must be an id below ", size);
    return *id;
  }

  // BOS, EOS and everything else that ends a generation.
  struct EndDefaults {  // where the file does not say
    bool add_bos = false, add_eos = false;
    int64_t bos = -1, eos = -1;
  };
  absl::Status Ends(const EndDefaults& defaults) {
    SL_ASSIGN_OR_RETURN(parts_.bos_id, Id("bos_token_id", defaults.bos));
    SL_ASSIGN_OR_RETURN(parts_.eos_id, Id("eos_token_id", defaults.eos));
    SL_ASSIGN_OR_RETURN(bool add_bos, Flag("add_bos_token", defaults.add_bos));
    SL_ASSIGN_OR_RETURN(bool add_eos, Flag("add_eos_token", defaults.add_eos));
    add_bos = add_bos && parts_.bos_id >= 0;
    add_eos = add_eos && parts_.eos_id >= 0;
    std::vector<uint32_t> before, after;
    if (add_bos) before.push_back(static_cast<uint32_t>(parts_.bos_id));
    if (add_eos) after.push_back(static_cast<uint32_t>(parts_.eos_id));
    if (add_bos || add_eos) parts_.post_processor.AddAround(std::move(before), std::move(after));

    std::vector<uint32_t>& ends = parts_.eos_ids;
    const auto add = [&ends](int64_t id) {
      const auto value = static_cast<uint32_t>(id);
      if (id >= 0 && std::find(ends.begin(), ends.end(), value) == ends.end())
        ends.push_back(value);
    };
    add(parts_.eos_id);
    for (const char* name : {"eot_token_id", "eom_token_id"}) {
      SL_ASSIGN_OR_RETURN(const int64_t id, Id(name, -1));
      add(id);
    }
    for (const std::string_view literal : kEndLiterals) add(Control(literal));
    return absl::OkStatus();
  }

  // The id of a token that is known to be for control, whatever the file takes it for; -1: none.
  int64_t Control(std::string_view literal) {
    const auto id = parts_.model->vocabulary().Find(literal);
    if (!id || types_[*id] == kUnused) return -1;
    const auto added = std::find_if(parts_.added_tokens.begin(), parts_.added_tokens.end(),
                                    [&](const AddedToken& token) { return token.id == *id; });
    if (added != parts_.added_tokens.end()) {
      added->special = true;
    } else {
      types_[*id] = kControl;
      AddIfFoundWhole(literal, *id);
    }
    return *id;
  }

  // Files do not say which tokens take the white space behind them along: Phi-3's do, but for
  // three.
  void StripBehindPhi3() {
    std::string name(file_.String("general.name").value_or(""));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name.find("phi-3") == name.npos && name.find("phi3") == name.npos) return;
    for (AddedToken& token : parts_.added_tokens) {
      token.rstrip =
          token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
    }
  }

  const GgufFile& file_;
  std::vector<std::string_view> tokens_;
  std::vector<int64_t> types_;
  Vocabulary vocabulary_;
  TokenizerParts parts_;
};

absl::StatusOr<TokenizerParts> ReadParts(const GgufFile& file, std::string_view model) {
  Reader reader(file);
  SL_RETURN_IF_ERROR(reader.ReadTokens());
  if (model == "gpt2") return reader.ByteLevel();
  if (model == "llama") return reader.SentencePiece();
  if (model == "t5") return reader.Unigram();
  if (model == "rwkv") return reader.Rwkv();
  return InvalidArgument(Key("model"), " ", Quoted(model),
                         " is not supported (gpt2, llama, t5 and rwkv are)");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerFromGguf(const GgufFile& file) {
  if (file.Find(Key("model")) == nullptr || file.Find(Key("tokens")) == nullptr) {
    return FailedPrecondition(file.path(), ": has no vocabulary (", Key("tokens"), ")");
  }
  const std::optional<std::string_view> model = file.String(Key("model"));
  if (!model) return InvalidArgument(file.path(), ": ", Key("model"), " must be a string");
  absl::StatusOr<TokenizerParts> parts = ReadParts(file, *model);
  if (!parts.ok()) return Annotate(parts.status(), file.path());
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      PipelineTokenizer::Create(*std::move(parts));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), file.path());
  return tokenizer;
}

}  // namespace shardline
