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


def add_tensors(writer, tensors, kind):
    """Matrices in `kind`, vectors in F32. Returns all as the file has them."""
    stored = {}
    for key, value in tensors.items():
        tensor_type = gguf.GGMLQuantizationType[kind if value.dim() == 2 else "F32"]
        data = gguf.quants.quantize(value.float().numpy(), tensor_type)
        writer.add_tensor(key, data, raw_dtype=tensor_type)
        stored[key] = torch.from_numpy(np.array(gguf.quants.dequantize(data, tensor_type)).reshape(value.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


CHECKPOINTS = {  # name -> (transformers' config, stored type, layout)
    "chatglm": (glm(), torch.bfloat16, chatglm),
    "chatglm_multi_head": (glm(num_attention_heads=3, num_key_value_heads=3, hidden_size=72, attention_bias=False,
                               rope_theta=500000.0), torch.bfloat16, chatglm),
}

# name -> (the checkpoint that it holds in the other format, what writes it into a folder)
GGUF_COPIES = {"gguf_of_chatglm": ("chatglm", write_chatglm_gguf)}
