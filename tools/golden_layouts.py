"""Checkpoints in layouts that transformers does not read, for make_golden.py.

A class of transformers that computes the same makes weights and reference; a layout then says what config.json holds
and how the tensors are called and joined. What no class computes has its arithmetic here, in float64.
"""

import json
import types

import gguf
import numpy as np
import torch
from safetensors.torch import load_file


def renamed(tensors, *pairs):
    for new, old in pairs:
        tensors = {key.replace(new, old): value for key, value in tensors.items()}
    return tensors


def joined(tensors, parts, whole, join=torch.cat):
    """The tensors that differ in `parts` alone become one, of weights and of biases."""
    out = {}
    for key, value in tensors.items():
        part = next((p for p in parts if f".{p}." in key), None)
        if part is None:
            out[key] = value
        elif part == parts[0]:
            out[key.replace(part, whole)] = join([tensors[key.replace(part, p)] for p in parts]).contiguous()
    return out


def by_head(heads):
    """[heads][parts][rows of a head], where `joined` has one part below the other."""
    return lambda parts: torch.stack([p.unflatten(0, (heads, -1)) for p in parts], 1).flatten(0, 2)


QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


# ---- ChatGLM: transformers' GLM


def glm(**changes):
    return {"architectures": ["GlmForCausalLM"], "model_type": "glm", "vocab_size": 96, "hidden_size": 96,
            "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 24, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "attention_bias": True, "pad_token_id": 0} | changes


def chatglm(config, tensors):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    stored = {
        "architectures": ["ChatGLMModel"], "model_type": "chatglm", "add_bias_linear": False,
        "add_qkv_bias": config["attention_bias"], "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False, "ffn_hidden_size": config["intermediate_size"],
        "hidden_size": config["hidden_size"], "kv_channels": config["head_dim"],
        "layernorm_epsilon": config["rms_norm_eps"], "multi_query_attention": heads != kv_heads,
        "multi_query_group_num": kv_heads, "num_attention_heads": heads, "num_layers": config["num_hidden_layers"],
        "original_rope": True, "padded_vocab_size": config["vocab_size"], "post_layer_norm": True, "rmsnorm": True,
        "seq_length": config["max_position_embeddings"], "tie_word_embeddings": False}
    if config["rope_theta"] != 10000:
        stored["rope_ratio"] = config["rope_theta"] / 10000
    tensors = joined(tensors, QKV, "self_attention.query_key_value", torch.cat if heads != kv_heads else by_head(heads))
    return stored, renamed(tensors, ("model.embed_tokens", "transformer.embedding.word_embeddings"),
                           ("model.layers", "transformer.encoder.layers"),
                           ("model.norm", "transformer.encoder.final_layernorm"),
                           ("lm_head", "transformer.output_layer"), ("self_attn.o_proj", "self_attention.dense"),
                           ("mlp.gate_up_proj", "mlp.dense_h_to_4h"), ("mlp.down_proj", "mlp.dense_4h_to_h"))


CHATGLM_GGUF_NAMES = (
    ("transformer.embedding.word_embeddings", "token_embd"), ("transformer.encoder.final_layernorm", "output_norm"),
    ("transformer.output_layer", "output"), ("transformer.encoder.layers", "blk"), ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"), ("self_attention.query_key_value", "attn_qkv"),
    ("self_attention.dense", "attn_output"), ("mlp.dense_h_to_4h", "ffn_up"), ("mlp.dense_4h_to_h", "ffn_down"))


def write_chatglm_gguf(folder, original):
    """As llama.cpp's converter does for ChatGLM's own layout."""
    config = json.loads((original / "config.json").read_text())
    writer = gguf.GGUFWriter(folder / "model.gguf", "chatglm")
    writer.add_context_length(config["seq_length"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["ffn_hidden_size"])
    writer.add_block_count(config["num_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["multi_query_group_num"])
    writer.add_layer_norm_rms_eps(config["layernorm_epsilon"])
    writer.add_rope_dimension_count(config["kv_channels"] // 2)
    writer.add_add_bos_token(False)
    writer.add_rope_freq_base(10000 * config.get("rope_ratio", 1))
    add_tensors(writer, renamed(load_file(original / "model.safetensors"), *CHATGLM_GGUF_NAMES), "BF16")


# ---- MPT


class Mpt:
    """MPT as its own code computes it, with what transformers' class leaves out: learned positions, norms of all
    queries and of all keys, biases, another size of the MLP."""

    def __init__(self, config, tensors):
        self.config, self.stored = types.SimpleNamespace(**config), {key: t.double() for key, t in tensors.items()}

    def linear(self, name, x):
        return torch.nn.functional.linear(x, self.stored[name + ".weight"], self.stored.get(name + ".bias"))

    def norm(self, name, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], self.stored[name + ".weight"],
                                              self.stored.get(name + ".bias"), 1e-5)

    def bias(self, tokens):
        """Slopes of the next power of two's heads: every other one first."""
        heads = self.config.n_heads
        above = 1 << (heads - 1).bit_length()
        slopes = torch.tensor([2.0 ** (-8 * i / above) for i in range(1, above + 1)], dtype=torch.float64)
        if above != heads:
            slopes = torch.cat([slopes[1::2], slopes[::2]])[:heads]
        return slopes[:, None, None] * torch.arange(1 - tokens, 1, dtype=torch.float64)

    def attention(self, block, x):
        qkv, clip = self.linear(block + "attn.Wqkv", x), self.config.clip
        q, k, v = (qkv.clamp(-clip, clip) if clip else qkv).chunk(3, -1)
        if self.config.qk_ln:
            q, k = self.norm(block + "attn.q_ln", q), self.norm(block + "attn.k_ln", k)
        q, k, v = (t.unflatten(-1, (self.config.n_heads, -1)).transpose(0, 1) for t in (q, k, v))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if self.config.alibi:
            scores = scores + self.bias(len(x))
        mask = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        seen = scores.masked_fill(mask, -torch.inf).softmax(-1) @ v
        return self.linear(block + "attn.out_proj", seen.transpose(0, 1).flatten(1))

    def __call__(self, ids, use_cache):
        x = self.stored["transformer.wte.weight"][ids[0]]
        if not self.config.alibi:
            x = x + self.stored["transformer.wpe.weight"][: len(x)]
        for i in range(self.config.n_layers):
            block = f"transformer.blocks.{i}."
            x = x + self.attention(block, self.norm(block + "norm_1", x))
            up = self.linear(block + "ffn.up_proj", self.norm(block + "norm_2", x))
            x = x + self.linear(block + "ffn.down_proj", torch.nn.functional.gelu(up))
        logits = self.norm("transformer.norm_f", x) @ self.stored["transformer.wte.weight"].T
        return types.SimpleNamespace(logits=logits[None])


MPT_SIZES = {"d_model": 48, "n_layers": 2, "vocab_size": 80, "max_seq_len": 128}
MPTS = {  # name -> (what Mpt above reads, config.json besides the sizes)
    "mpt_positions": (
        {"n_heads": 3, "ratio": 2, "clip": 0, "qk_ln": False, "alibi": False, "no_bias": False},
        {"architectures": ["MPTForCausalLM"], "model_type": "mpt", "n_heads": 3, "expansion_ratio": 2, "no_bias": False,
         "attn_config": {"attn_impl": "torch", "attn_type": "multihead_attention", "alibi": False, "qk_ln": False}}),
    # Keys and names of Replit's first.
    "replit": (
        {"n_heads": 6, "ratio": 3, "clip": 1.1, "qk_ln": True, "alibi": True, "no_bias": True},
        {"architectures": ["ReplitLM"], "model_type": "replit_lm", "n_heads": 6, "mlp_ratio": 3, "no_bias": True,
         "alibi": True, "alibi_bias_max": 8, "attn_clip_qkv": 1.1, "attn_impl": "torch", "attn_qk_ln": True,
         "attn_uses_sequence_id": False, "low_precision_layernorm": True, "logit_scale": None, "prefix_lm": False,
         "softmax_scale": None, "embedding_fraction": 1.0}),
}
REPLIT_NAMES = (("norm_1", "ln_1"), ("norm_2", "ln_2"), ("norm_f", "ln_f"), ("ffn.up_proj", "mlp.mlp_up"),
                ("ffn.down_proj", "mlp.mlp_down"))


def mpt_shapes(config):
    hidden, inner = config["d_model"], config["d_model"] * config["ratio"]
    norms, matrices = {"transformer.norm_f": hidden}, {}
    for i in range(config["n_layers"]):
        block = f"transformer.blocks.{i}."
        matrices |= {block + "attn.Wqkv": (3 * hidden, hidden), block + "attn.out_proj": (hidden, hidden),
                     block + "ffn.up_proj": (inner, hidden), block + "ffn.down_proj": (hidden, inner)}
        norms |= {block + "norm_1": hidden, block + "norm_2": hidden}
        if config["qk_ln"]:
            norms |= {block + "attn.q_ln": hidden, block + "attn.k_ln": hidden}
    return norms, matrices


def make_mpt(name):
    """Returns config.json, tensors and the model that computes with them."""
    config = MPT_SIZES | MPTS[name][0]
    generator = torch.Generator().manual_seed(sum(name.encode()))
    norms, matrices = mpt_shapes(config)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    tensors = {"transformer.wte.weight": draw(config["vocab_size"], config["d_model"])}
    if not config["alibi"]:
        tensors["transformer.wpe.weight"] = draw(config["max_seq_len"], config["d_model"])
    for stem, size in norms.items():
        tensors[stem + ".weight"] = 1 + 0.3 * draw(size)
    for stem, shape in matrices.items():
        tensors[stem + ".weight"] = 1.6 / shape[1] ** 0.5 * draw(*shape)
    if not config["no_bias"]:
        for stem, shape in (norms | matrices).items():
            tensors[stem + ".bias"] = 0.3 * draw(shape if isinstance(shape, int) else shape[0])
    tensors = {key: value.to(torch.bfloat16) for key, value in tensors.items()}
    model = Mpt(config, tensors)
    return MPT_SIZES | MPTS[name][1], renamed(tensors, *(REPLIT_NAMES if name == "replit" else ())), model


MPT_GGUF_NAMES = (
    ("transformer.wte", "token_embd"), ("transformer.wpe", "position_embd"), ("transformer.blocks", "blk"),
    ("transformer.norm_f", "output_norm"), ("transformer.ln_f", "output_norm"), ("norm_1", "attn_norm"),
    ("norm_2", "ffn_norm"), ("ln_1", "attn_norm"), ("ln_2", "ffn_norm"), ("attn.Wqkv", "attn_qkv"),
    ("attn.out_proj", "attn_output"), ("attn.q_ln", "attn_q_norm"), ("attn.k_ln", "attn_k_norm"),
    ("ffn.up_proj", "ffn_up"), ("ffn.down_proj", "ffn_down"), ("mlp.mlp_up", "ffn_up"), ("mlp.mlp_down", "ffn_down"))


def write_mpt_gguf(folder, original):
    """As llama.cpp's converter does."""
    config, _ = MPTS[original.name]
    writer = gguf.GGUFWriter(folder / "model.gguf", "mpt")
    writer.add_context_length(MPT_SIZES["max_seq_len"])
    writer.add_embedding_length(MPT_SIZES["d_model"])
    writer.add_block_count(MPT_SIZES["n_layers"])
    writer.add_feed_forward_length(config["ratio"] * MPT_SIZES["d_model"])
    writer.add_head_count(config["n_heads"])
    writer.add_layer_norm_eps(1e-5)
    if config["clip"]:
        writer.add_clamp_kqv(config["clip"])
    writer.add_max_alibi_bias(8.0 if config["alibi"] else 0.0)
    add_tensors(writer, renamed(load_file(original / "model.safetensors"), *MPT_GGUF_NAMES), "BF16")


def kind_of(shape, key, kind):
    """MIXED: Q8_0, Q4_0 and F32 in turn; F16 where blocks of 32 do not divide a row."""
    if kind != "MIXED":
        return kind
    if shape[-1] % 32:
        return "F16"
    layer = sum(int(part) for part in key.split(".") if part.isdigit())
    return ("Q8_0", "Q4_0", "F32")[(layer + sum(key.split(".")[-2].encode())) % 3]


def add_tensors(writer, tensors, kind, exact=()):
    """Matrices in `kind`, vectors and what ends as `exact` has it in F32. Returns all as the file has them."""
    stored = {}
    for key, value in tensors.items():
        whole = value.dim() != 2 or key.endswith(exact)
        tensor_type = gguf.GGMLQuantizationType["F32" if whole else kind_of(value.shape, key, kind)]
        data = gguf.quants.quantize(value.float().numpy(), tensor_type)
        writer.add_tensor(key, data, raw_dtype=tensor_type)
        stored[key] = torch.from_numpy(np.array(gguf.quants.dequantize(data, tensor_type)).reshape(value.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


# ---- Falcon, StableLM and Phi before transformers had their classes


def layer_norm(stem, model_type, **changes):
    return {"architectures": [stem + "ForCausalLM"], "model_type": model_type, "vocab_size": 80, "hidden_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128,
            "rope_theta": 10000.0} | changes


def refined_web(config, tensors):
    grouped = config.get("new_decoder_architecture", False)
    stored = {"architectures": ["RWForCausalLM"], "model_type": "RefinedWeb" if grouped else "RefinedWebModel",
              "alibi": False, "apply_residual_connection_post_layernorm": False, "bias": False,
              "hidden_size": config["hidden_size"], "layer_norm_epsilon": 1e-5, "n_head": config["num_attention_heads"],
              "n_layer": config["num_hidden_layers"], "parallel_attn": True, "vocab_size": config["vocab_size"]}
    return stored | ({"n_head_kv": config["num_kv_heads"]} if grouped else {"multi_query": True}), tensors


def stablelm_epoch(config, tensors):
    stored = {key: value for key, value in config.items() if key not in ("layer_norm_eps", "partial_rotary_factor")}
    return stored | {"architectures": ["StableLMEpochForCausalLM"], "model_type": "stablelm_epoch",
                     "norm_eps": config["layer_norm_eps"], "rope_pct": config["partial_rotary_factor"],
                     "rotary_scaling_factor": 1.0}, tensors


def phi_config(config, **changes):
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    return {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_embd": config["hidden_size"],
            "n_head": config["num_attention_heads"], "n_inner": None, "n_layer": config["num_hidden_layers"],
            "n_positions": config["max_position_embeddings"], "pad_vocab_size_multiple": 16,
            "rotary_dim": int(head_dim * config["partial_rotary_factor"]), "tie_word_embeddings": False,
            "vocab_size": config["vocab_size"] - 5} | changes


PHI_BLOCK = (("input_layernorm", "ln"), ("self_attn.dense", "mixer.out_proj"))


def mixformer(config, tensors):
    """One sequence: the embedding, the blocks, the head."""
    last = config["num_hidden_layers"]
    tensors = joined(tensors, QKV, "mixer.Wqkv")
    for layer in reversed(range(last)):
        tensors = renamed(tensors, (f"model.layers.{layer}.", f"layers.{layer + 1}."))
    tensors = renamed(tensors, ("model.embed_tokens", "layers.0.wte"),
                      ("model.final_layernorm", f"layers.{last + 1}.ln"), ("lm_head", f"layers.{last + 1}.linear"),
                      *PHI_BLOCK)
    return phi_config(config, architectures=["MixFormerSequentialForCausalLM"], model_type="mixformer-sequential",
                      architecture={"block_cls": "parallel", "mixer": {}, "mlp": {"mlp_cls": "mlp"}}), tensors


def phi_msft(config, tensors):
    tensors = renamed(joined(tensors, QKV, "mixer.Wqkv"), ("lm_head", "lm_head.linear"),
                      ("model.embed_tokens", "transformer.embd.wte"), ("model.final_layernorm", "lm_head.ln"),
                      ("model.layers", "transformer.h"), *PHI_BLOCK)
    return phi_config(config, architectures=["PhiForCausalLM"], model_type="phi-msft",
                      n_head_kv=config["num_key_value_heads"]), tensors


# ---- GGUF files as candle writes them: Hugging Face's names, no metadata, config.json beside them


def write_candle_gguf(folder, config, tensors, kind):
    writer = gguf.GGUFWriter(folder / "model.gguf", "none")
    writer.kv_data[0].clear()
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return add_tensors(writer, tensors, kind)


CANDLE = {  # name -> (transformers' config, tensor type)
    "gguf_candle_mistral": (
        {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 96, "hidden_size": 64,
         "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 8}, "Q4_0"),
    "gguf_candle_mpt": (
        {"architectures": ["MptForCausalLM"], "model_type": "mpt", "vocab_size": 80, "d_model": 96, "n_heads": 6,
         "n_layers": 2, "max_seq_len": 128, "no_bias": True, "attn_config": {"alibi": True, "clip_qkv": 0.8}}, "Q8_0"),
}

CHECKPOINTS = {  # name -> (transformers' config, stored type, layout)
    "chatglm": (glm(), torch.bfloat16, chatglm),
    "chatglm_multi_head": (glm(num_attention_heads=3, num_key_value_heads=3, hidden_size=72, attention_bias=False,
                               rope_theta=500000.0), torch.bfloat16, chatglm),
    "falcon_refined_web": (layer_norm("Falcon", "falcon", new_decoder_architecture=True, num_attention_heads=6,
                                      num_kv_heads=2), torch.bfloat16, refined_web),
    "falcon_refined_web_model": (layer_norm("Falcon", "falcon", num_attention_heads=3), torch.bfloat16, refined_web),
    "stablelm_epoch": (layer_norm("StableLm", "stablelm", hidden_size=64, intermediate_size=80, layer_norm_eps=1e-6,
                                  partial_rotary_factor=0.5, num_key_value_heads=4), torch.bfloat16, stablelm_epoch),
    "phi_mixformer": (layer_norm("Phi", "phi", hidden_size=64, intermediate_size=256, partial_rotary_factor=0.5),
                      torch.bfloat16, mixformer),
    "phi_msft": (layer_norm("Phi", "phi", hidden_size=60, intermediate_size=240, num_attention_heads=3,
                            num_key_value_heads=1, partial_rotary_factor=0.4), torch.bfloat16, phi_msft),
}

# ---- Mamba: filters without their middle axis, A as what its logarithm stands for


def write_mamba_gguf(folder, original):
    config = json.loads((original / "config.json").read_text())
    write_mamba_tensors(folder, config, load_file(original / "model.safetensors"), "BF16")


def write_mamba_tensors(folder, config, given, kind):
    """Returns the tensors as the file has them, under the names that transformers gives them."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MAMBA, config["num_hidden_layers"])
    tensors = {}
    for key, value in given.items():
        if key.endswith("A_log"):
            value = -torch.exp(value.double()).float()
        if key.endswith("conv1d.weight"):
            value = value.squeeze(1)
        tensors[names.get_name(key, try_suffixes=(".weight", ".bias"))] = value
    selective = tensors["blk.0.ssm_x.weight"]
    states = tensors["blk.0.ssm_a"].shape[1]
    writer = gguf.GGUFWriter(folder / "model.gguf", "mamba")
    writer.add_context_length(2**20)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_ssm_conv_kernel(tensors["blk.0.ssm_conv1d.weight"].shape[1])
    writer.add_ssm_inner_size(selective.shape[1])
    writer.add_ssm_state_size(states)
    writer.add_ssm_time_step_rank(selective.shape[0] - 2 * states)
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_ssm_dt_b_c_rms(config["model_type"] == "falcon_mamba")
    stored = add_tensors(writer, tensors, kind, ("ssm_a", "ssm_conv1d.weight"))
    return {key: value if value.dim() != 2 or key.endswith("A_log")
            else stored[names.get_name(key, try_suffixes=(".weight", ".bias"))] for key, value in given.items()}


# name -> (the checkpoint that it holds in the other format, what writes it into a folder)
GGUF_COPIES = {"gguf_of_mamba": ("mamba", write_mamba_gguf), "gguf_of_falcon_mamba": ("falcon_mamba", write_mamba_gguf),
               "gguf_of_chatglm": ("chatglm", write_chatglm_gguf),
               "gguf_of_mpt_positions": ("mpt_positions", write_mpt_gguf), "gguf_of_replit": ("replit", write_mpt_gguf)}
