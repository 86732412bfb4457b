#!/usr/bin/env python3
"""Makes tests/published/*/tensors.txt: the names and shapes of published checkpoints, from their config.json alone.

Needs tools/requirements-golden.txt.

    tools/make_published.py            all
    tools/make_published.py NAME...    some

tests/published/NAME/config.json is written by hand: what the published file says of the model. Of longrope's factors
only the number is true. transformers makes the model on the meta device, without memory, and gives the tensors the names
and shapes that files have. What it does not read (older layouts, models that need their own code) is made from an equal
class, renamed. tensors.txt then has
    parameters N                 of the language model, a tied head counted once
    kv_bytes_per_token N         in bf16, all layers
    NAME [SHAPE]                 one line for all names that differ in numbers alone: "layers.{0-31}.norm.weight [4096]"
    unread NAME [SHAPE]          what files hold and no text model reads: vision, a tied head, old rotary tables
with "f8 " or "f32 " before the name where the type is not bf16
and gguf.txt, where llama.cpp has the architecture and GGUFS below names the model, metadata as "KEY TYPE VALUE" and the
tensors of the converted file.
"""

import collections
import json
import pathlib
import re
import sys

import gguf
import torch
import transformers
from transformers import AutoConfig
from transformers.core_model_loading import revert_weight_conversion

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "published"

# Parameters in billions, as their publishers give them, or the Hub, which counts all that is stored.
BILLIONS = {
    "llama-7b": 6.738, "llama-2-70b": 68.977, "codellama-34b": 33.744, "llama-3-8b": 8.030, "llama-3.1-405b": 405.854,
    "llama-3.2-1b": 1.236, "tinyllama-1.1b": 1.100, "smollm2-135m": 0.1345, "deepseek-coder-6.7b": 6.740,
    "deepseek-llm-67b": 67.42, "yi-34b": 34.389, "yi-6b-first": 6.061, "mistral-7b-v0.1": 7.242,
    "mistral-nemo-12b": 12.248, "mistral-large-123b": 122.61, "mixtral-8x7b": 46.703, "mixtral-8x22b": 140.62,
    "gemma-2b": 2.506, "gemma-7b": 8.538, "gemma-2-2b": 2.614, "gemma-2-9b": 9.242, "gemma-2-27b": 27.227,
    "gemma-3-1b": 1.000, "gemma-3-270m": 0.2681, "gemma-3-4b": 3.880, "gemma-3-27b": 27.009, "phi-1_5": 1.418,
    "phi-2": 2.780, "phi-3-mini-4k": 3.821, "phi-3-mini-128k": 3.821, "phi-3-medium-4k": 13.960, "phi-4": 14.660,
    "phi-4-mini": 3.836, "qwen2-0.5b": 0.494, "qwen2.5-7b": 7.616, "qwen2.5-72b": 72.706, "qwen3-0.6b": 0.596,
    "qwen3-8b": 8.191, "qwen3-32b": 32.762, "qwen3-30b-a3b": 30.532, "qwen3-235b-a22b": 235.094, "falcon-7b": 7.217,
    "falcon-40b": 41.836, "falcon-180b": 179.523, "falcon-11b": 11.103, "falcon-rw-1b": 1.312,
    "stablelm-3b-4e1t": 2.795, "stablelm-3b-4e1t-first": 2.795, "stablelm-2-1_6b": 1.645, "stablelm-2-12b": 12.143,
    "starcoder2-3b": 3.030, "starcoder2-7b": 7.174, "starcoder2-15b": 15.958, "starcoder": 15.517, "santacoder": 1.125,
    "tiny_starcoder_py": 0.164, "mpt-7b": 6.649, "mpt-7b-storywriter": 6.649, "mpt-30b": 29.957,
    "replit-code-v1_5-3b": 3.325, "persimmon-8b": 9.4, "olmo-1b": 1.177, "olmo-1.7-7b": 6.888, "olmo-2-7b": 7.299,
    "olmo-2-32b": 32.23, "granite-3.1-2b": 2.534, "granite-3.1-8b": 8.171, "helium-1-preview-2b": 2.173,
    "glm-4-9b-chat-hf": 9.400, "glm-edge-1.5b-chat": 1.593, "glm-4-9b-0414": 9.400, "glm-4-32b-0414": 32.566,
    "qwen1.5-moe-a2.7b": 14.316, "qwen2-57b-a14b": 57.409, "deepseek-moe-16b": 16.376, "deepseek-v2-lite": 15.706,
    "deepseek-v2": 235.741, "deepseek-v3": 684.49, "moonlight-16b-a3b": 15.96, "deepseek-llm-7b": 6.910,
    "granite-3.1-1b-a400m": 1.335, "granite-3.1-3b-a800m": 3.30, "chatglm2-6b": 6.244, "chatglm3-6b": 6.244,
    "glm-4-9b-chat": 9.400, "mamba-130m": 0.1291, "mamba-370m": 0.3715, "mamba-790m": 0.7932, "mamba-1.4b": 1.372,
    "mamba-2.8b": 2.768, "falcon-mamba-7b": 7.273, "falcon-7b-first": 7.217, "falcon-40b-first": 41.836,
    "falcon-rw-7b": 7.516, "helium-1-2b": 2.023, "replit-code-v1-3b": 2.600, "qwen3-8b-fp8": 8.191,
}

# Classes of transformers for files that it does not read itself: what to change in the configuration.
LIKE_GLM = {"architectures": ["GlmForCausalLM"], "model_type": "glm"}
CHATGLM_KEYS = {"num_layers": "num_hidden_layers", "padded_vocab_size": "vocab_size", "seq_length":
                "max_position_embeddings", "ffn_hidden_size": "intermediate_size", "kv_channels": "head_dim",
                "multi_query_group_num": "num_key_value_heads", "add_qkv_bias": "attention_bias"}


def equal_config(config):
    """The configuration of an equal class of transformers."""
    architecture = architecture_of(config)
    if architecture == "YiForCausalLM":
        return config | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    if architecture == "StableLMEpochForCausalLM":
        return config | {"architectures": ["StableLmForCausalLM"], "model_type": "stablelm", "use_qkv_bias": False}
    if architecture == "MPTForCausalLM":
        return config | {"architectures": ["MptForCausalLM"], "attn_config": {}}
    if architecture == "ReplitLM":
        return config | {"architectures": ["MptForCausalLM"], "model_type": "mpt"}
    if architecture == "ChatGLMModel":
        return LIKE_GLM | {"hidden_size": 4096, "num_attention_heads": 32, "pad_token_id": 0} | {
            new: config[old] for old, new in CHATGLM_KEYS.items()}
    if architecture == "DeepseekForCausalLM":
        return config | {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "mlp_only_layers": [0],
                         "num_experts": config["n_routed_experts"], "qkv_bias": False, "shared_expert_intermediate_size":
                         config["n_shared_experts"] * config["moe_intermediate_size"]}
    if architecture == "RWForCausalLM":
        renames = {"n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_head_kv": "num_kv_heads"}
        return {renames.get(key, key): value for key, value in config.items()} | {
            "architectures": ["FalconForCausalLM"], "model_type": "falcon",
            "new_decoder_architecture": config["model_type"] == "RefinedWeb"}
    return config


def renamed(tensors, *pairs):
    for old, new in pairs:
        tensors = {re.sub(old, new, name): shape for name, shape in tensors.items()}
    return tensors


def fused_qkv(tensors):
    """Rows of q, k and v in one tensor, for every layer, weight and bias."""
    out = {}
    for name, shape in tensors.items():
        part = re.fullmatch(r"(.*self_attn)\.([qkv])_proj\.(weight|bias)", name)
        if not part:
            out[name] = shape
            continue
        fused = f"{part[1]}.qkv.{part[3]}"
        out[fused] = [out.get(fused, [0])[0] + shape[0], *shape[1:]]
    return out


def next_token_layer(tensors, config):
    """DeepSeek's layer that guesses the token after the next one: a mixture layer with an embedding and a head."""
    last, hidden = config["num_hidden_layers"] - 1, config["hidden_size"]
    extra = {name.replace(f"layers.{last}.", f"layers.{last + 1}."): shape for name, shape in tensors.items()
             if f"layers.{last}." in name}
    layer = f"model.layers.{last + 1}."
    table = [config["vocab_size"], hidden]
    return extra | {
        layer + "enorm.weight": [hidden], layer + "hnorm.weight": [hidden], layer + "eh_proj.weight": [hidden, 2 * hidden],
        layer + "embed_tokens.weight": table, layer + "shared_head.norm.weight": [hidden],
        layer + "shared_head.head.weight": table}


def frequencies(config):
    """Old files hold the rope's frequencies too."""
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    return {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": [half] for i in range(config["num_hidden_layers"])}


def architecture_of(config):
    return config["architectures"][0]


def with_published_names(tensors, config):
    architecture = architecture_of(config)
    if architecture == "YiForCausalLM":
        return renamed(tensors, ("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2"))
    if architecture == "Gemma3ForConditionalGeneration":
        return renamed(tensors, (r"^vision_tower\.", "vision_tower.vision_model."))
    if architecture == "MPTForCausalLM" and "kv_n_heads" in config["attn_config"]:
        hidden, kv_heads = config["d_model"], config["attn_config"]["kv_n_heads"]
        rows = hidden + 2 * kv_heads * (hidden // config["n_heads"])
        return {key: [rows, hidden] if key.endswith("Wqkv.weight") else shape for key, shape in tensors.items()}
    if architecture == "ReplitLM":
        return renamed(tensors, (r"norm_(\d|f)", r"ln_\1"), (r"ffn\.(up|down)_proj", r"mlp.mlp_\1"))
    if architecture == "ChatGLMModel":
        return renamed(
            fused_qkv(tensors), (r"^model\.embed_tokens", "transformer.embedding.word_embeddings"),
            (r"^lm_head", "transformer.output_layer"), (r"^model\.norm", "transformer.encoder.final_layernorm"),
            (r"^model\.layers", "transformer.encoder.layers"), (r"self_attn\.qkv", "self_attention.query_key_value"),
            (r"self_attn\.o_proj", "self_attention.dense"), (r"mlp\.gate_up_proj", "mlp.dense_h_to_4h"),
            (r"mlp\.down_proj", "mlp.dense_4h_to_h"))
    if architecture == "DeepseekForCausalLM":
        return {key.replace("shared_expert.", "shared_experts."): shape for key, shape in tensors.items()
                if "shared_expert_gate" not in key}
    return tensors


def stored_besides(name, tensors, config):
    """What files hold and the model does not need."""
    if name in ("llama-7b", "llama-2-70b"):
        return frequencies(config)
    if name.startswith("falcon-") and name.split("-")[1] in ("7b", "40b", "180b"):  # a tied head, stored all the same
        return {"lm_head.weight": tensors["transformer.word_embeddings.weight"]}
    if architecture_of(config) == "ChatGLMModel":
        return {"transformer.rotary_pos_emb.inv_freq": [config["kv_channels"] // 4]}
    if config.get("num_nextn_predict_layers"):
        return next_token_layer(tensors, config)
    return {}


def has_eight_bits(name, config):
    """Of the two methods' files: the linear layers, but for routers and heads."""
    return "quantization_config" in config and re.search(r"_proj(_with_mqa)?\.weight$", name) and "eh_proj" not in name


def scales(tensors, config):
    """One for each block; DeepSeek's are f32, Qwen's bf16."""
    rows, cols = config["quantization_config"]["weight_block_size"]
    return {name + "_scale_inv": [-(-shape[0] // rows), -(-shape[1] // cols)]
            for name, shape in tensors.items() if has_eight_bits(name, config)}


def in_files(model):
    """Names and shapes of the files that transformers would write."""
    tensors = {key: tensor for key, tensor in model.state_dict().items() if key not in model.all_tied_weights_keys}
    return {key: list(tensor.shape) for key, tensor in revert_weight_conversion(model, tensors).items()}


def kv_bytes_per_token(config):
    text = getattr(config, "text_config", config)
    if "mamba" in config.model_type:
        return 0
    if hasattr(text, "kv_lora_rank"):  # the latent and the rotated part of all heads' keys
        return 2 * text.num_hidden_layers * (text.kv_lora_rank + text.qk_rope_head_dim)
    heads = text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", heads)
    if config.model_type == "falcon":
        kv_heads = text.num_kv_heads if text.new_decoder_architecture else 1 if text.multi_query else heads
    if config.model_type == "gpt_bigcode":
        kv_heads = 1 if text.multi_query else heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return 2 * text.num_hidden_layers * 2 * kv_heads * head_dim


def runs(numbers):
    """[0, 1, 2, 7] -> "{0-2}", "7"."""
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return [f"{{{a}-{b}}}" if a < b else str(a) for a, b in out]


def fold_numbers(rows):
    """Sets of number rows [(0, 0), (0, 1), (1, 0), …] as products of ranges: [["{0-1}", "{0-1}"], …]."""
    if rows == {()}:
        return [[]]
    rest = {}
    for first, *more in rows:
        rest.setdefault(first, set()).add(tuple(more))
    same = {}
    for first, more in rest.items():
        same.setdefault(frozenset(more), set()).add(first)
    return [[run, *tail] for more, firsts in same.items() for run in runs(firsts) for tail in fold_numbers(set(more))]


def folded(tensors):
    patterns = {}
    for name, shape in tensors.items():
        parts = name.split(".")
        numbers = tuple(int(part) for part in parts if part.isdigit())
        pattern = ".".join("*" if part.isdigit() else part for part in parts)
        patterns.setdefault((pattern, tuple(shape)), set()).add(numbers)
    for (pattern, shape), rows in patterns.items():
        for ranges in fold_numbers(rows):
            left = iter(ranges)
            yield re.sub(r"\*", lambda _: next(left), pattern) + " " + str(list(shape))


def elements(tensors):
    return sum(int(torch.Size(shape).numel()) for shape in tensors.values())


def make(name):
    config = json.loads((FOLDER / name / "config.json").read_text())
    equal = equal_config(config)
    model_class = getattr(transformers, equal["architectures"][0])
    known = AutoConfig.for_model(equal["model_type"]).__class__
    reference = known.from_dict({key: value for key, value in equal.items()
                                 if key not in ("architectures", "quantization_config")})
    with torch.device("meta"):
        model = model_class(reference)
    tensors = with_published_names(in_files(model), config)
    besides = stored_besides(name, tensors, config)
    text = {key: shape for key, shape in tensors.items() if not re.search("vision|multi_modal", key)}
    unread = {key: shape for key, shape in tensors.items() if key not in text} | besides
    billions = [elements(counted) / 1e9 for counted in (text, text | besides)]
    assert any(abs(n / BILLIONS[name] - 1) < 2e-3 for n in billions), f"{name}: {billions}, not {BILLIONS[name]}"
    kv = kv_bytes_per_token(reference)
    if "kv_n_heads" in config.get("attn_config", {}):
        kv = kv * config["attn_config"]["kv_n_heads"] // config["n_heads"]
    def typed(tensors):
        return [f"f8 {line}" if has_eight_bits(line.split(" ")[0], config) else line for line in folded(tensors)]

    lines = [f"parameters {elements(text)}", f"kv_bytes_per_token {kv}", *typed(text)]
    lines += [f"unread {line}" for line in typed(unread)]
    if "quantization_config" in config:
        kind = "f32 " if architecture_of(config) == "DeepseekV3ForCausalLM" else ""
        lines += [kind + line for line in folded(scales(text | unread, config))]
    (FOLDER / name / "tensors.txt").write_text("\n".join(lines) + "\n")
    if name in GGUFS:
        make_gguf(name, tensors, config)


# Models whose names and metadata are written for GGUF too, and their architecture there.
GGUFS = {
    "llama-3-8b": "llama", "llama-3.1-405b": "llama", "mistral-nemo-12b": "llama", "mixtral-8x7b": "llama",
    "falcon-7b": "falcon", "falcon-40b": "falcon", "falcon-180b": "falcon", "gemma-7b": "gemma", "gemma-2-9b": "gemma2",
    "gemma-2-27b": "gemma2", "gemma-3-1b": "gemma3", "phi-2": "phi2", "phi-3-mini-4k": "phi3", "phi-3-mini-128k": "phi3",
    "qwen2.5-7b": "qwen2", "qwen3-8b": "qwen3", "qwen3-30b-a3b": "qwen3moe", "qwen3-235b-a22b": "qwen3moe",
    "starcoder2-7b": "starcoder2", "starcoder": "starcoder", "stablelm-2-1_6b": "stablelm", "stablelm-2-12b": "stablelm",
    "mpt-7b": "mpt", "mpt-30b": "mpt", "replit-code-v1_5-3b": "mpt", "olmo-1.7-7b": "olmo", "olmo-2-7b": "olmo2",
    "granite-3.1-8b": "granite", "glm-4-9b-0414": "glm4",
}
# What llama.cpp's converter writes of a configuration that has one of these keys, in every architecture.
GGUF_KEYS = (
    ("context_length", "max_position_embeddings", "max_seq_len", "n_positions"),
    ("embedding_length", "hidden_size", "d_model", "n_embd"),
    ("block_count", "num_hidden_layers", "n_layers", "n_layer"),
    ("feed_forward_length", "intermediate_size", "n_inner"),
    ("attention.head_count", "num_attention_heads", "n_heads", "n_head"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon"),
    ("attention.key_length", "head_dim"), ("attention.value_length", "head_dim"),
    ("rope.freq_base", "rope_theta"),
    ("expert_count", "num_local_experts", "num_experts"), ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
)
# Factors and caps that some architectures have.
GGUF_MORE_KEYS = {
    "gemma2": {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping",
               "attention.sliding_window": "sliding_window"},
    "gemma3": {"attention.sliding_window": "sliding_window"},
    "phi3": {"attention.sliding_window": "sliding_window",
             "rope.scaling.original_context_length": "original_max_position_embeddings"},
    "olmo": {"attention.clamp_kqv": "clip_qkv"},
    "granite": {"attention.scale": "attention_multiplier", "embedding_scale": "embedding_multiplier",
                "residual_scale": "residual_multiplier", "logit_scale": "logits_scaling"},
}


def gguf_metadata(config, architecture):
    keys = {}
    for key, *names in GGUF_KEYS:
        value = next((config[name] for name in names if config.get(name) is not None), None)
        if value is not None:
            keys[key] = float(value) if key.startswith("rope.") or "epsilon" in key else value
    keys.update((key, float(config[name]) if isinstance(config[name], float) else config[name])
                for key, name in GGUF_MORE_KEYS.get(architecture, {}).items())
    hidden, heads = keys["embedding_length"], keys["attention.head_count"]
    head_dim = config.get("head_dim") or hidden // heads
    partial = config.get("partial_rotary_factor", 0.5 if architecture == "glm4" else 1)
    if architecture in ("llama", "granite", "phi2", "phi3", "stablelm", "glm4"):
        keys["rope.dimension_count"] = int(head_dim * partial)
    if architecture == "falcon":
        keys |= {"context_length": config.get("max_position_embeddings", 2048), "feed_forward_length": 4 * hidden,
                 "attention.head_count_kv": config.get("num_kv_heads", 1), "tensor_data_layout": "jploski"}
    if architecture == "starcoder":
        keys["attention.head_count_kv"] = 1
    if architecture == "stablelm":
        keys["use_parallel_residual"] = config.get("use_parallel_residual", True)
    if architecture == "olmo":
        keys["attention.layer_norm_epsilon"] = 1e-5
    if architecture == "mpt":
        attention = config["attn_config"]
        keys |= {"feed_forward_length": 4 * hidden, "attention.layer_norm_epsilon": 1e-5,
                 "attention.max_alibi_bias": float(attention["alibi_bias_max"])}
        keys |= {"attention.head_count_kv": attention["kv_n_heads"]} if "kv_n_heads" in attention else {}
    if "longrope" in json.dumps(config.get("rope_scaling")):
        keys["rope.scaling.attn_factor"] = 1.19
    return keys


def gguf_tensors(tensors, config, architecture):
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    layers = next(config[key] for key in ("num_hidden_layers", "n_layers", "n_layer") if key in config)
    names = gguf.get_tensor_name_map(kinds[architecture], layers)
    stacked = {key: re.sub(r"\.(experts|norms)\.\d+\.", r".\1.", key) for key in tensors}  # of all experts, of all heads
    counts = collections.Counter(stacked.values())
    out = {}
    for key, shape in tensors.items():
        if stacked[key] != key:
            shape = [counts[stacked[key]], *shape]
            key = stacked[key].replace(".norms", "")
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert name, f"{architecture} has no name for {key}"
        out[name] = shape
    half = (config.get("head_dim") or config.get("hidden_size", 0) // config.get("num_attention_heads", 1)) // 2
    scaling = json.dumps(config.get("rope_scaling"))
    if "llama3" in scaling:
        out["rope_freqs.weight"] = [half]
    if "longrope" in scaling:
        out |= {"rope_factors_long.weight": [half], "rope_factors_short.weight": [half]}
    return out


def make_gguf(name, tensors, config):
    architecture = GGUFS[name]
    types = {bool: "bool", int: "u32", float: "f32", str: "string"}
    metadata = {"general.architecture": architecture} | {
        f"{architecture}.{key}": value for key, value in gguf_metadata(config, architecture).items()}
    lines = [f"{key} {types[type(value)]} {json.dumps(value) if type(value) is bool else value}"
             for key, value in metadata.items()]
    lines += folded(gguf_tensors(tensors, config, architecture))
    (FOLDER / name / "gguf.txt").write_text("\n".join(lines) + "\n")


def main():
    for name in sys.argv[1:] or sorted(path.parent.name for path in FOLDER.glob("*/config.json")):
        make(name)


if __name__ == "__main__":
    main()
