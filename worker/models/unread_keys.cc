// One list for all families. A key belongs here if leaving it out of account gives wrong logits and
// no other error: names and shapes of tensors do not show it.
#include "worker/models/unread_keys.h"

#include <algorithm>

namespace shardline {
namespace {

constexpr std::string_view kKeys[] = {
    // what a token sees
    "attention_chunk_size", "attention_sinks", "prefix_lm", "use_attention_sinks",
    "use_bidirectional_attention",
    // positions
    "alibi", "no_rope_layer_interval", "rope_ratio", "rotary_scaling_factor", "use_alibi",
    // attention's arithmetic
    "attention_multiplier", "attn_logit_softcapping", "attn_temperature_tuning", "clip_qkv",
    "qk_norm", "query_pre_attn_scalar", "use_qk_norm",
    // layers that are not like the others
    "per_layer_config",
    // how parts are joined
    "apply_residual_connection_post_layernorm", "parallel_attn", "residual_multiplier",
    "scale_depth", "use_parallel_residual",
    // experts
    "routed_scaling_factor",
    // the ends
    "embedding_multiplier", "final_logit_softcapping", "logit_scale", "logits_scaling",
    "scale_emb"};

bool Names(const std::vector<std::string>& types, std::string_view type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

}  // namespace

void RefuseUnreadKeys(HfConfig& config) {
  for (const std::string_view key : kKeys) {
    if (!config.WasRead(key) && !config.IsTrivial(key)) {
      config.Refuse(key, "is not served with this architecture");
    }
  }
  // A model that embeds: its tokens see those behind them, too.
  if (!config.Bool("is_causal", true)) config.Refuse("is_causal", "false is not served");
  if (config.WasRead("layer_types")) return;
  const std::vector<std::string> types = config.Strings("layer_types");
  for (const char* type : {"sliding_attention", "chunked_attention"}) {
    if (Names(types, type)) {
      config.Refuse("layer_types", Cat("has ", type, ", not served with this architecture"));
    }
  }
}

}  // namespace shardline
