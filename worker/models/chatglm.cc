// ChatGLM2, ChatGLM3 and the first GLM-4 in the layout of their own code: the arithmetic of GLM
// (worker/models/glm.cc) under other names, with queries, keys and values of one matrix. Defaults
// are those of the checkpoints' ChatGLMConfig. GGUF files of theirs are GLM's. Source:
// https://arxiv.org/abs/2406.12793
#include <array>

#include "worker/models/dense.h"
#include "worker/models/registry.h"
#include "worker/models/rope_config.h"

namespace shardline {
namespace {

constexpr HfDefaults kDefaults{.vocabulary = 65024,
                               .hidden = 4096,
                               .inner = 13696,
                               .layers = 28,
                               .heads = 32,
                               .head_dim = 128,
                               .context = 2048,
                               .norm_eps = 1e-5};
constexpr HfKeys kKeys{.vocabulary = "padded_vocab_size",
                       .hidden = "hidden_size",
                       .inner = "ffn_hidden_size",
                       .layers = "num_layers",
                       .heads = "num_attention_heads",
                       .kv_heads = "",
                       .head_dim = "kv_channels",
                       .context = "seq_length",
                       .norm_eps = "layernorm_epsilon"};

// What the code could do besides, and no published checkpoint of these does. The first ChatGLM has
// this architecture's name and another one's blocks.
void RefuseOtherChatglms(HfConfig& config) {
  for (const std::string_view key : {"position_encoding_2d", "inner_hidden_size"}) {
    if (config.Has(key)) config.Refuse(key, "is of the first ChatGLM, which is not served");
  }
  for (const std::string_view key : {"vision_config", "pre_seq_len"}) {
    if (config.Has(key)) config.Refuse(key, "is not served");
  }
  if (config.Int("quantization_bit", 0, 32, 0) != 0) {
    config.Refuse("quantization_bit", "is not 0: give the unquantised checkpoint or a GGUF file");
  }
  RequireFalse(config, {"apply_residual_connection_post_layernorm", "add_bias_linear"});
  for (const std::string_view key : {"rmsnorm", "post_layer_norm", "original_rope"}) {
    if (!config.Bool(key, true)) config.Refuse(key, "false is not served");
  }
}

bool MultiQuery(HfConfig& config) { return config.Bool("multi_query_attention", false); }

ModelSpec ChatglmFromHf(HfConfig& config) {
  RefuseOtherChatglms(config);
  ModelSpec spec = DenseFromHf(config, kDefaults, kKeys);
  Attention& attention = AttentionOf(spec.blocks[0]);
  attention.qkv_bias = config.Bool("add_qkv_bias", false);
  if (MultiQuery(config)) {
    attention.kv_heads = config.Int("multi_query_group_num", 1, attention.heads, 1);
  }
  attention.rope = RopeFromHf(config, attention.head_dim, spec.context, {.partial = 0.5});
  attention.rope.theta *= config.Float("rope_ratio", kLeastFactor, kMostFactor, 1);
  attention.rope.style = RopeStyle::kInterleaved;
  Spread(spec);
  return spec;
}

NameTable ChatglmHfNames(const Checkpoint& checkpoint) {
  NameTable names = HfNames("transformer.encoder.");
  const std::string layer = "transformer.encoder.layers.*.";
  const Fusion fusion = MultiQuery(*checkpoint.hf()) ? Fusion::kStacked : Fusion::kByGroup;
  Rename(names, "embed", "transformer.embedding.word_embeddings");
  Rename(names, "head", "transformer.output_layer");
  Rename(names, "final_norm", "transformer.encoder.final_layernorm");
  FuseQkv(names, layer + "self_attention.query_key_value", fusion);
  Rename(names, "*.attn.o", layer + "self_attention.dense");
  FuseMlp(names, layer + "mlp.dense_h_to_4h");
  Rename(names, "*.mlp.down", layer + "mlp.dense_4h_to_h");
  names.ignored.push_back("transformer.rotary_pos_emb.inv_freq");
  return names;
}

constexpr std::array<std::string_view, 2> kArchitectures = {"ChatGLMModel",
                                                            "ChatGLMForConditionalGeneration"};

}  // namespace

const Family& ChatglmFamily() {
  static const Family kFamily{.name = "chatglm",
                              .hf_architectures = kArchitectures,
                              .gguf_architecture = "",
                              .from_hf = ChatglmFromHf,
                              .from_gguf = nullptr,
                              .hf_names = ChatglmHfNames,
                              .gguf_names = nullptr,
                              .models = "ChatGLM2, ChatGLM3, CodeGeeX2, GLM-4 in its first layout",
                              .gguf_as = "chatglm"};
  return kFamily;
}

}  // namespace shardline
