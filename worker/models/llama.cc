// Llama 1 to 3.x and everything that shares its architecture: TinyLlama, SmolLM, Vicuna, CodeLlama,
// … Defaults are those of transformers' LlamaConfig. Source: https://arxiv.org/abs/2302.13971
#include <array>

#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

// Sizes beyond these are mistakes, and small enough that no product of two overflows.
constexpr int64_t kMostHidden = 1 << 20, kMostHeads = 1 << 12, kMostHeadDim = 1 << 10;
constexpr int64_t kUnstatedContext = 32768;  // of a file that does not tell
constexpr int64_t kMostLayers = 1 << 10, kMostVocabulary = 1 << 24, kMostContext = 1 << 30;

ModelSpec MakeSpec(const Attention& attention, const Mlp& mlp, const RmsNorm& norm,
                   int64_t layers) {
  ModelSpec spec{.final_norm = norm};
  spec.blocks.assign(
      layers,
      Block{.residual = Residual::kSequential, .norm = norm, .mixer = attention, .ffn = mlp});
  return spec;
}

void RefuseForeignKeys(HfConfig& config) {
  if (config.Has("quantization_config")) {
    config.Refuse("quantization_config",
                  "is not served: give the unquantised checkpoint or a GGUF file");
  }
  const std::string activation = config.String("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    config.Refuse("hidden_act", Cat("'", activation, "' is not silu"));
  }
}

ModelSpec LlamaFromHf(HfConfig& config) {
  RefuseForeignKeys(config);
  const int64_t hidden = config.Int("hidden_size", 1, kMostHidden);
  const int64_t heads = config.Int("num_attention_heads", 1, kMostHeads);
  const int64_t context = config.Int("max_position_embeddings", 1, kMostContext, 2048);
  const bool bias = config.Bool("attention_bias", false);
  Attention attention{
      .heads = heads,
      .kv_heads = config.Int("num_key_value_heads", 1, kMostHeads, heads),
      .head_dim = config.Int("head_dim", 2, kMostHeadDim, hidden / heads),
      .qkv_bias = bias,
      .out_bias = bias,
  };
  attention.rope = RopeFromHf(config, attention.head_dim, context);
  const Mlp mlp{.inner = config.Int("intermediate_size", 1, kMostHidden),
                .bias = config.Bool("mlp_bias", false)};
  const RmsNorm norm{static_cast<float>(config.Float("rms_norm_eps", 1e-6))};
  ModelSpec spec = MakeSpec(attention, mlp, norm, config.Int("num_hidden_layers", 1, kMostLayers));
  spec.vocabulary = config.Int("vocab_size", 1, kMostVocabulary);
  spec.hidden = hidden;
  spec.context = context;
  spec.tied_head = config.Bool("tie_word_embeddings", false);
  return spec;
}

// What GGUF's metadata leaves out (biases, a tied head) shows in which tensors there are.
ModelSpec LlamaFromGguf(GgufConfig& config, const Checkpoint& checkpoint) {
  if (config.Int("*.expert_count", 0, 1 << 16, 0) > 0) {
    config.Refuse("*.expert_count", "is not 0: mixtures of experts are not served");
  }
  const int64_t hidden = config.Int("*.embedding_length", 1, kMostHidden);
  const int64_t heads = config.Int("*.attention.head_count", 1, kMostHeads);
  const int64_t context = config.Int("*.context_length", 1, kMostContext, kUnstatedContext);
  Attention attention{
      .heads = heads,
      .kv_heads = config.Int("*.attention.head_count_kv", 1, kMostHeads, heads),
      .head_dim = config.Int("*.attention.key_length", 2, kMostHeadDim, hidden / heads),
      .qkv_bias = checkpoint.Find("blk.0.attn_q.bias") != nullptr,
      .out_bias = checkpoint.Find("blk.0.attn_output.bias") != nullptr,
  };
  if (config.Int("*.attention.value_length", 1, kMostHeadDim, attention.head_dim) !=
      attention.head_dim) {
    config.Refuse("*.attention.value_length", "is not the key length");
  }
  attention.rope = RopeFromGguf(config, checkpoint, attention.head_dim, context);
  const Mlp mlp{.inner = config.Int("*.feed_forward_length", 1, kMostHidden),
                .bias = checkpoint.Find("blk.0.ffn_gate.bias") != nullptr};
  const RmsNorm norm{static_cast<float>(config.Float("*.attention.layer_norm_rms_epsilon"))};
  ModelSpec spec = MakeSpec(attention, mlp, norm, config.Int("*.block_count", 1, kMostLayers));
  const StoredTensor* embedding = checkpoint.Find("token_embd.weight");
  spec.vocabulary = config.Int("*.vocab_size", 1, kMostVocabulary,
                               embedding != nullptr ? embedding->rows() : kMostVocabulary);
  spec.hidden = hidden;
  spec.context = context;
  spec.tied_head = checkpoint.Find("output.weight") == nullptr;
  return spec;
}

const NameTable& HfNames() {
  static const NameTable kTable{
      .rules = {{"embed", "model.embed_tokens"},
                {"head", "lm_head"},
                {"final_norm", "model.norm"},
                {"*.norm1", "model.layers.*.input_layernorm"},
                {"*.attn.q", "model.layers.*.self_attn.q_proj"},
                {"*.attn.k", "model.layers.*.self_attn.k_proj"},
                {"*.attn.v", "model.layers.*.self_attn.v_proj"},
                {"*.attn.o", "model.layers.*.self_attn.o_proj"},
                {"*.norm2", "model.layers.*.post_attention_layernorm"},
                {"*.mlp.gate", "model.layers.*.mlp.gate_proj"},
                {"*.mlp.up", "model.layers.*.mlp.up_proj"},
                {"*.mlp.down", "model.layers.*.mlp.down_proj"}},
      .ignored = {"model.layers.*.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq",
                  "lm_head.weight"}};  // a tied head may be stored too
  return kTable;
}

const NameTable& GgufNames() {
  static const NameTable kTable{
      .rules = {{"embed", "token_embd"},
                {"head", "output"},
                {"final_norm", "output_norm"},
                {"*.norm1", "blk.*.attn_norm"},
                {"*.attn.q", "blk.*.attn_q", RowOrder::kInterleavedHeads},
                {"*.attn.k", "blk.*.attn_k", RowOrder::kInterleavedHeads},
                {"*.attn.v", "blk.*.attn_v"},
                {"*.attn.o", "blk.*.attn_output"},
                {"*.norm2", "blk.*.ffn_norm"},
                {"*.mlp.gate", "blk.*.ffn_gate"},
                {"*.mlp.up", "blk.*.ffn_up"},
                {"*.mlp.down", "blk.*.ffn_down"}},
      .ignored = {"rope_freqs.weight", "blk.*.attn_rot_embd"}};  // the first is read with the rope
  return kTable;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"LlamaForCausalLM", "LLaMAForCausalLM"};

}  // namespace

const Family& LlamaFamily() {
  static const Family kFamily{.name = "llama",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "llama",
                              .from_hf = LlamaFromHf,
                              .from_gguf = LlamaFromGguf,
                              .hf_names = HfNames(),
                              .gguf_names = GgufNames()};
  return kFamily;
}

}  // namespace shardline
