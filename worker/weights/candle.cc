// Published models told by their shapes. Two models of the same shapes must not be told by them:
// Mistral 7B v0.2 has those of v0.1 and another rope, but no quantised file of candle's.
#include "worker/weights/candle.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace shardline {
namespace {

struct Published {
  const char* embedding;
  std::vector<int64_t> vocabularies;  // rows that the embedding has in one variant or other
  const char* last;                   // a tensor of the last layer, and its shape
  std::vector<int64_t> shape;
  const char* config;  // without vocab_size
};

const std::vector<Published>& AllPublished() {
  static const std::vector<Published> kAll = {
      // Mistral 7B v0.1, and what was tuned from it for ChatML.
      {"model.embed_tokens.weight",
       {32000, 32002},
       "model.layers.31.mlp.gate_proj.weight",
       {14336, 4096},
       R"({"architectures": ["MistralForCausalLM"], "hidden_size": 4096,
           "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
           "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false})"},
      // Replit-code v1.5.
      {"transformer.wte.weight",
       {32768},
       "transformer.blocks.31.attn.Wqkv.weight",
       {5120, 3072},
       R"({"architectures": ["MPTForCausalLM"], "d_model": 3072, "n_heads": 24, "n_layers": 32,
           "expansion_ratio": 4, "max_seq_len": 4096, "no_bias": true,
           "attn_config": {"alibi": true, "alibi_bias_max": 8, "kv_n_heads": 8,
                           "attn_type": "grouped_query_attention"}})"}};
  return kAll;
}

bool HasShapes(const GgufFile& file, const Published& model) {
  const GgufTensor* embedding = file.FindTensor(model.embedding);
  const GgufTensor* last = file.FindTensor(model.last);
  if (embedding == nullptr || embedding->shape.size() != 2 || last == nullptr) return false;
  return std::count(model.vocabularies.begin(), model.vocabularies.end(), embedding->shape[0]) >
             0 &&
         last->shape == model.shape;
}

}  // namespace

bool IsFromCandle(const GgufFile& file) {
  return file.Find("general.architecture") == nullptr &&
         std::any_of(file.tensors().begin(), file.tensors().end(), [](const GgufTensor& tensor) {
           return tensor.name.starts_with("model.") || tensor.name.starts_with("transformer.");
         });
}

absl::StatusOr<std::unique_ptr<HfConfig>> ConfigOfCandleFile(const GgufFile& file) {
  const std::filesystem::path beside =
      std::filesystem::path(file.path()).parent_path() / "config.json";
  std::error_code error;
  if (std::filesystem::exists(beside, error)) return HfConfig::Open(beside.string());
  for (const Published& model : AllPublished()) {
    if (!HasShapes(file, model)) continue;
    nlohmann::json config = nlohmann::json::parse(model.config);
    config["vocab_size"] = file.FindTensor(model.embedding)->shape[0];
    return HfConfig::Parse(config.dump(), file.path());
  }
  return InvalidArgument(file.path(),
                         ": has Hugging Face's tensor names and no general.architecture, and its "
                         "shapes are those of no model known here: put the model's config.json "
                         "beside it");
}

}  // namespace shardline
