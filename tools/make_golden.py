#!/usr/bin/env python3
"""Makes tests/golden: tiny checkpoints in which every parameter is random, with reference log-probabilities.

Needs (pinned): torch==2.11.0 transformers==5.23.0 gguf==0.19.0 safetensors==0.8.0 numpy==2.4.6; any build of
torch with a CPU will do. --smollm2 and --gemma3 also need accelerate==1.15.0, through which transformers reads GGUF.

    tools/make_golden.py                       every tiny checkpoint, and the dequantisation fixtures
    tools/make_golden.py NAME...               some of them
    tools/make_golden.py --smollm2 FILE.gguf   tests/golden/smollm2.json
    tools/make_golden.py --gemma3 FILE.gguf    tests/golden/gemma3_270m.json

Each folder holds a checkpoint (config.json and safetensors, or model.gguf) and reference.safetensors:
  prompt.I [n] i32, logprobs.I [n, vocabulary] f32: the model's log-probabilities after each prompt token,
  output.I [m] i32, output_logprobs.I [m, vocabulary] f32: greedy continuation, the distribution each token came from.
References come from full forward passes without a cache, in float32, eager attention. Only where the rope
depends on the sequence's length (dynamic, longrope) is the continuation computed with a cache: a token's rotation is
then fixed when the token is first run, which is the rule in worker/layers/rope.h.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, DynamicCache, LlamaForCausalLM

import golden_float8
import golden_layouts

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
OUTPUT_TOKENS = 10
torch.set_num_threads(1)


def base(**changes):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_theta": 10000.0,
    }
    config.update(changes)
    return {key: value for key, value in config.items() if value is not None}


def qwen2(**changes):
    return base(architectures=["Qwen2ForCausalLM"], model_type="qwen2", rope_theta=1000000.0, rms_norm_eps=1e-6,
                **changes)


def mistral(**changes):
    return base(architectures=["MistralForCausalLM"], model_type="mistral", **changes)


def gemma3(**changes):
    return base(architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", head_dim=24, hidden_act=None,
                hidden_activation="gelu_pytorch_tanh", rope_theta=1000000.0, rope_local_base_freq=10000.0,
                sliding_window=8, sliding_window_pattern=3, num_hidden_layers=4, rms_norm_eps=1e-6, **changes)


# LayerNorm families. Sizes are small, and none of them is a multiple of another where that is allowed.
def layer_norm(name, model_type, **changes):
    config = {"architectures": [name], "model_type": model_type, "vocab_size": 80, "hidden_size": 48,
              "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
              "max_position_embeddings": 128, "rope_theta": 10000.0}
    config.update(changes)
    return {key: value for key, value in config.items() if value is not None}


def starcoder2(**changes):
    return layer_norm("Starcoder2ForCausalLM", "starcoder2", norm_epsilon=1e-5, **changes)


def phi(**changes):
    return layer_norm("PhiForCausalLM", "phi", **{"hidden_size": 64, **changes})


def falcon(**changes):
    return layer_norm("FalconForCausalLM", "falcon",
                      **{"intermediate_size": None, "num_key_value_heads": None, **changes})


def stablelm(**changes):
    return layer_norm("StableLmForCausalLM", "stablelm", **{"hidden_size": 64, **changes})


def olmo(**changes):
    return layer_norm("OlmoForCausalLM", "olmo", **{"num_key_value_heads": None, **changes})


def mpt(**changes):
    return {"architectures": ["MptForCausalLM"], "model_type": "mpt", "vocab_size": 80, "d_model": 48, "n_heads": 12,
            "n_layers": 2, "max_seq_len": 128} | changes


def persimmon(**changes):
    return layer_norm("PersimmonForCausalLM", "persimmon",
                      **{"num_key_value_heads": None, "num_attention_heads": 3, **changes})


def bigcode(**changes):
    return {"architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "vocab_size": 80, "n_embd": 48,
            "n_head": 3, "n_layer": 2, "n_positions": 128} | changes


# A language model inside one that sees: the file's names differ by its age.
def gemma3_seeing(**changes):
    text = gemma3(num_attention_heads=2, num_key_value_heads=1, query_pre_attn_scalar=20, **changes)
    text.update(num_hidden_layers=3, hidden_size=32, intermediate_size=48)
    del text["architectures"]
    vision = {"model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 1, "image_size": 4, "patch_size": 2, "vision_use_head": False}
    return {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 1,
            "image_token_index": 95, "boi_token_index": 94, "eoi_token_index": 93, "text_config": text,
            "vision_config": vision}


# A family whose configuration is like Llama's; `stem` is that of its class in transformers.
def like_llama(stem, model_type, **changes):
    return base(architectures=[stem + "ForCausalLM"], model_type=model_type, pad_token_id=0, **changes)


def qwen3(**changes):
    return like_llama("Qwen3", "qwen3", rope_theta=1000000.0, head_dim=24, **changes)


def gemma2(**changes):
    return like_llama("Gemma2", "gemma2", num_hidden_layers=4, sliding_window=8, head_dim=24, hidden_act=None,
                      hidden_activation="gelu_pytorch_tanh", **changes)


def granite(**changes):
    return like_llama("Granite", "granite", embedding_multiplier=3.3, residual_multiplier=0.45,
                      attention_multiplier=0.3, logits_scaling=2.5, **changes)


def granite_moe(stem, model_type, **changes):
    return granite(hidden_size=48, intermediate_size=24, num_attention_heads=3, num_key_value_heads=1) | {
        "architectures": [stem + "ForCausalLM"], "model_type": model_type} | changes


def deepseek(version, **changes):
    return {"architectures": [f"DeepseekV{version}ForCausalLM"], "model_type": f"deepseek_v{version}", "vocab_size": 80,
            "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
            "num_key_value_heads": 3, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "rope_theta": 10000.0, "first_k_dense_replace": 1, "moe_intermediate_size": 24, "n_routed_experts": 8,
            "num_experts_per_tok": 3, "n_shared_experts": 2, "q_lora_rank": 20, "kv_lora_rank": 24,
            "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10} | changes


def mamba(stem, model_type, **changes):
    return {"architectures": [stem + "ForCausalLM"], "model_type": model_type, "vocab_size": 80, "hidden_size": 48,
            "num_hidden_layers": 3, "layer_norm_epsilon": 1e-5} | changes


def ramp(first, step, count):
    return [round(first + step * i, 4) for i in range(count)]


# name -> (config.json, stored type, shards)
CHECKPOINTS = {
    "llama": (base(vocab_size=128, intermediate_size=112, num_hidden_layers=3), torch.bfloat16, 1),
    "llama3_rope_tied": (
        base(head_dim=24, tie_word_embeddings=True, rope_theta=None,
             rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                              "high_freq_factor": 4.0, "original_max_position_embeddings": 16}),
        torch.float32, 1),
    "biases_linear": (
        base(attention_bias=True, mlp_bias=True, rope_scaling={"type": "linear", "factor": 2.5}), torch.float16, 3),
    "yarn": (
        base(rope_theta=None, rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                                               "original_max_position_embeddings": 32}),
        torch.bfloat16, 1),
    "yarn_mscale": (
        base(head_dim=32, rope_scaling={"rope_type": "yarn", "factor": 6.0, "mscale": 0.9, "mscale_all_dim": 0.6,
                                        "beta_fast": 16, "beta_slow": 2, "truncate": False,
                                        "original_max_position_embeddings": 20}),
        torch.float16, 1),
    "yarn_attention_factor": (
        base(rope_scaling={"type": "yarn", "factor": 2.0, "attention_factor": 1.3}, max_position_embeddings=64),
        torch.bfloat16, 1),
    "dynamic": (
        base(max_position_embeddings=24, rope_scaling={"rope_type": "dynamic", "factor": 2.0}), torch.float16, 1),
    "longrope": (
        base(rope_theta=None, original_max_position_embeddings=24, max_position_embeddings=96,
             rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": ramp(1.0, 0.05, 8),
                              "long_factor": ramp(1.5, 1.25, 8)}),
        torch.bfloat16, 1),
    "multi_query": (base(num_key_value_heads=1, rms_norm_eps=1e-6), torch.float16, 1),
    "qwen2_tied": (qwen2(tie_word_embeddings=True), torch.bfloat16, 1),
    "qwen2_windows": (qwen2(num_hidden_layers=3, head_dim=24, use_sliding_window=True, sliding_window=8,
                            max_window_layers=1), torch.bfloat16, 1),
    "mistral": (mistral(head_dim=24, sliding_window=8), torch.bfloat16, 1),
    # Several splits of attention, of which the window sees two at a time.
    "mistral_long": (mistral(vocab_size=32, hidden_size=32, intermediate_size=48, head_dim=8, sliding_window=270,
                             max_position_embeddings=1024), torch.bfloat16, 1),
    "gemma3": (gemma3(query_pre_attn_scalar=24, rope_scaling={"rope_type": "linear", "factor": 8.0}),
               torch.bfloat16, 1),
    "gemma3_layer_types": (
        gemma3(query_pre_attn_scalar=20, tie_word_embeddings=False, attention_bias=True,
               layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
               rope_parameters={"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0},
                                "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}})
        | {"hidden_size": 32, "intermediate_size": 48}, torch.float32, 1),
    "gemma3_seeing": (gemma3_seeing(), torch.bfloat16, 1),
    "gemma3_seeing_old_names": (gemma3_seeing(), torch.bfloat16, 1),
    "qwen3_tied": (qwen3(tie_word_embeddings=True, num_attention_heads=3, num_key_value_heads=1), torch.bfloat16, 1),
    "qwen3_windows_biases": (qwen3(num_hidden_layers=3, attention_bias=True, use_sliding_window=True, sliding_window=8,
                                   max_window_layers=1), torch.bfloat16, 1),
    "gemma": (like_llama("Gemma", "gemma", num_key_value_heads=1, head_dim=24, hidden_act="gelu",
                         tie_word_embeddings=True), torch.bfloat16, 1),
    "gemma_biases": (like_llama("Gemma", "gemma", num_attention_heads=3, num_key_value_heads=3, head_dim=24,
                                hidden_act="gelu_pytorch_tanh", attention_bias=True, tie_word_embeddings=False),
                     torch.float16, 1),
    "gemma2": (gemma2(query_pre_attn_scalar=24, attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
               torch.bfloat16, 1),
    "gemma2_layer_types": (
        gemma2(query_pre_attn_scalar=20, tie_word_embeddings=False, attention_bias=True,
               layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"])
        | {"attn_logit_softcapping": None, "final_logit_softcapping": None}, torch.bfloat16, 1),
    "phi3_window": (like_llama("Phi3", "phi3", sliding_window=8, num_hidden_layers=3), torch.bfloat16, 1),
    "phi3_longrope": (
        like_llama("Phi3", "phi3", tie_word_embeddings=True, original_max_position_embeddings=24, rope_theta=None,
                   rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
                                    "short_factor": ramp(1.0, 0.05, 6), "long_factor": ramp(1.5, 1.25, 6)}),
        torch.bfloat16, 1),
    "granite": (granite(tie_word_embeddings=True), torch.bfloat16, 1),
    "granite_biases": (granite(attention_bias=True, mlp_bias=True, num_attention_heads=2, num_key_value_heads=None,
                               rope_scaling={"type": "linear", "factor": 2.0}), torch.float32, 1),
    "olmo2": (like_llama("Olmo2", "olmo2"), torch.bfloat16, 1),
    "olmo2_biases_yarn": (
        like_llama("Olmo2", "olmo2", attention_bias=True, hidden_size=48, num_attention_heads=3, num_key_value_heads=1,
                   tie_word_embeddings=True, rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                                           "original_max_position_embeddings": 32}),
        torch.bfloat16, 1),
    "helium": (like_llama("Helium", "helium", head_dim=16), torch.bfloat16, 1),
    "helium_biases": (like_llama("Helium", "helium", head_dim=16, attention_bias=True, mlp_bias=True, hidden_size=48,
                                 num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True),
                      torch.bfloat16, 1),
    "glm": (like_llama("Glm", "glm", head_dim=24), torch.bfloat16, 1),
    "glm_linear_tied": (
        like_llama("Glm", "glm", head_dim=16, attention_bias=False, partial_rotary_factor=0.25, tie_word_embeddings=True,
                   num_attention_heads=3, num_key_value_heads=1, rope_scaling={"type": "linear", "factor": 2.0}),
        torch.bfloat16, 1),
    "glm4": (like_llama("Glm4", "glm4", head_dim=24, attention_bias=False), torch.bfloat16, 1),
    "glm4_biases": (like_llama("Glm4", "glm4", head_dim=16, num_key_value_heads=1, tie_word_embeddings=True),
                    torch.bfloat16, 1),
    "mixtral": (like_llama("Mixtral", "mixtral", num_local_experts=4, num_experts_per_tok=2, intermediate_size=48,
                           hidden_size=48, head_dim=24, num_attention_heads=3, num_key_value_heads=1), torch.bfloat16, 1),
    "qwen3_moe": (like_llama("Qwen3Moe", "qwen3_moe", head_dim=24, num_experts=8, num_experts_per_tok=3,
                             moe_intermediate_size=24, norm_topk_prob=True, tie_word_embeddings=True), torch.bfloat16, 1),
    "qwen3_moe_mixed": (
        like_llama("Qwen3Moe", "qwen3_moe", head_dim=16, num_experts=5, num_experts_per_tok=2, num_hidden_layers=4,
                   moe_intermediate_size=24, mlp_only_layers=[3], decoder_sparse_step=2, hidden_size=48,
                   num_attention_heads=3, num_key_value_heads=3, use_sliding_window=True, sliding_window=8,
                   attention_bias=True), torch.bfloat16, 1),
    "qwen2_moe": (
        like_llama("Qwen2Moe", "qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
                   shared_expert_intermediate_size=40, hidden_size=48, num_attention_heads=3, num_key_value_heads=1),
        torch.bfloat16, 1),
    "qwen2_moe_mixed": (
        like_llama("Qwen2Moe", "qwen2_moe", num_experts=5, num_experts_per_tok=3, moe_intermediate_size=24,
                   shared_expert_intermediate_size=24, num_hidden_layers=3, mlp_only_layers=[0], norm_topk_prob=True,
                   hidden_size=48, num_attention_heads=3, num_key_value_heads=3, use_sliding_window=True,
                   sliding_window=8, max_window_layers=2, qkv_bias=False, tie_word_embeddings=True),
        torch.bfloat16, 1),
    "granite_moe": (granite_moe("GraniteMoe", "granitemoe", num_local_experts=4), torch.bfloat16, 1),
    "granite_moe_shared": (
        granite_moe("GraniteMoeShared", "granitemoeshared", num_local_experts=5, num_experts_per_tok=3,
                    shared_intermediate_size=40, attention_bias=True, tie_word_embeddings=True), torch.bfloat16, 1),
    "deepseek_v2": (
        deepseek(2, topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=2.5,
                 rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 0.707,
                               "mscale_all_dim": 0.707, "beta_fast": 32, "beta_slow": 1}), torch.bfloat16, 1),
    "deepseek_v2_lite": (
        deepseek(2, topk_method="greedy", q_lora_rank=None, n_routed_experts=5, num_experts_per_tok=2,
                 num_attention_heads=2, num_key_value_heads=2, n_group=1, topk_group=1, norm_topk_prob=False,
                 kv_lora_rank=40, v_head_dim=16), torch.bfloat16, 1),
    "deepseek_v2_mscales": (
        deepseek(2, q_lora_rank=None, n_routed_experts=4, num_experts_per_tok=1, n_shared_experts=1,
                 first_k_dense_replace=0, num_hidden_layers=1, attention_bias=True, rms_norm_eps=1e-4,
                 rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 0.9,
                               "mscale_all_dim": 0.6}), torch.bfloat16, 1),
    "deepseek_v3": (
        deepseek(3, n_routed_experts=6, num_experts_per_tok=2, n_group=3, topk_group=2, norm_topk_prob=True,
                 routed_scaling_factor=2.5, topk_method="noaux_tc", scoring_func="sigmoid", n_shared_experts=1,
                 rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 1.0,
                               "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1}), torch.bfloat16, 1),
    "deepseek_v3_halves": (
        deepseek(3, n_group=1, topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.5, n_routed_experts=6,
                 q_lora_rank=None, rope_interleave=False, attention_bias=True, rms_norm_eps=1e-4,
                 num_attention_heads=5, num_key_value_heads=5, hidden_size=40, qk_rope_head_dim=6,
                 tie_word_embeddings=True), torch.bfloat16, 1),
    "yi_old_names": (base(num_key_value_heads=1, rope_theta=5000000.0, hidden_size=32, intermediate_size=48),
                     torch.bfloat16, 1),
    "starcoder2": (starcoder2(sliding_window=8), torch.bfloat16, 1),
    "starcoder2_without_biases": (starcoder2(use_bias=False, tie_word_embeddings=False, head_dim=20),
                                  torch.bfloat16, 1),
    "phi": (phi(num_key_value_heads=None), torch.bfloat16, 1),
    "phi_norms_of_heads": (phi(qk_layernorm=True, partial_rotary_factor=0.4, num_attention_heads=3, hidden_size=60,
                               num_key_value_heads=1), torch.bfloat16, 1),
    "falcon_multi_query": (falcon(num_attention_heads=3), torch.bfloat16, 1),
    "falcon_groups": (falcon(new_decoder_architecture=True, num_attention_heads=6, num_kv_heads=2, bias=True,
                             tie_word_embeddings=False), torch.bfloat16, 1),
    "falcon_one_norm": (falcon(new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1,
                               ffn_hidden_size=80), torch.bfloat16, 1),
    "falcon_alibi": (falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True, num_attention_heads=12,
                            vocab_size=48),
                     torch.bfloat16, 1),
    "stablelm": (stablelm(use_qkv_bias=True), torch.bfloat16, 1),
    "stablelm_norms_of_heads": (stablelm(qk_layernorm=True, use_parallel_residual=True, num_attention_heads=6,
                                         num_key_value_heads=3, hidden_size=96), torch.bfloat16, 1),
    "olmo": (olmo(clip_qkv=0.8), torch.bfloat16, 1),
    "mpt": (mpt(attn_config={"clip_qkv": 0.8}), torch.bfloat16, 1),
    "persimmon": (persimmon(), torch.bfloat16, 1),
    "bigcode": (bigcode(), torch.bfloat16, 1),
    "bigcode_multi_head": (bigcode(multi_query=False, n_inner=80), torch.bfloat16, 1),
    "mamba": (mamba("Mamba", "mamba", intermediate_size=88, state_size=12, time_step_rank=5), torch.bfloat16, 1),
    "mamba_biases": (mamba("Mamba", "mamba", hidden_size=40, expand=3, state_size=20, conv_kernel=3, use_bias=True,
                           use_conv_bias=False, residual_in_fp32=False, time_step_rank="auto",
                           tie_word_embeddings=False), torch.bfloat16, 1),
    "falcon_mamba": (mamba("FalconMamba", "falcon_mamba", intermediate_size=104, expand=16, mixer_rms_eps=1e-5,
                           tie_word_embeddings=False), torch.bfloat16, 1),
    "multi_head": (base(num_key_value_heads=None, num_attention_heads=2, intermediate_size=96), torch.bfloat16, 1),
}

# Prompts beside those of 1, 13 and 37 tokens.
LONG_PROMPTS = {"mistral_long": 530, "falcon_alibi": 300}
# The names in Hub files that came before the present ones.
OLD_NAMES = {"gemma3_seeing_old_names": (("model.language_model.", "language_model.model."),
                                         ("model.vision_tower.", "vision_tower."),
                                         ("model.multi_modal_projector.", "multi_modal_projector."))}

# The same for files that transformers does not read: after the reference has been made, names within tensors' names
# and the architecture.
FOREIGN_NAMES = {"yi_old_names": ("YiForCausalLM", (("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2")))}

GGUF_BASE = base(intermediate_size=96)
# Rows that blocks of 32 divide; all experts are chosen, so that narrow types choose the same.
LATENTS_OF_BLOCKS = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2,
                     "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 32, "v_head_dim": 16,
                     "moe_intermediate_size": 32, "n_shared_experts": 1, "n_routed_experts": 2,
                     "num_experts_per_tok": 2}
# name -> (config, tensor type, extra metadata)
GGUFS = {
    "gguf_f32": (base(hidden_size=32, head_dim=8, intermediate_size=48), "F32", {}),
    "gguf_f16": (GGUF_BASE, "F16", {}),
    "gguf_bf16": (GGUF_BASE, "BF16", {}),
    "gguf_q8_0": (GGUF_BASE, "Q8_0", {}),
    "gguf_q4_0": (GGUF_BASE, "Q4_0", {}),
    "gguf_q4_1": (GGUF_BASE, "Q4_1", {}),
    "gguf_q5_0": (GGUF_BASE, "Q5_0", {}),
    "gguf_q5_1": (GGUF_BASE, "Q5_1", {}),
    "gguf_k_quants": (base(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_key_value_heads=1), "K", {}),
    "gguf_rope_freqs_tied": (
        base(head_dim=24, intermediate_size=96, tie_word_embeddings=True,
             rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 16}),
        "Q8_0", {}),
    "gguf_biases_yarn": (
        base(intermediate_size=96, attention_bias=True, mlp_bias=True,
             rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}),
        "Q8_0", {"type": "yarn", "factor": 4.0, "orig_ctx": 32}),
    "gguf_linear": (
        base(intermediate_size=96, rope_scaling={"rope_type": "linear", "factor": 3.0}), "Q4_1",
        {"type": "linear", "factor": 3.0}),
    "gguf_q8_0_latents": (
        deepseek(2, n_group=1, topk_group=1, **LATENTS_OF_BLOCKS,
                 rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 1.0,
                               "mscale_all_dim": 1.0}), "Q8_0", {}),
    "gguf_q4_0_old_latents": (deepseek(2, **LATENTS_OF_BLOCKS), "Q4_0", {}),
}


# Matrices are Q8_0, Q4_0 and F32 in turn, and F16 where blocks of 32 do not divide their rows, as llama.cpp's
# converter has it: checkpoint above -> changes of its sizes.
SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64}
MIXED_GGUFS = {f"gguf_mixed_{name}": CHECKPOINTS[name][0] | changes for name, changes in {
    "mistral": SMALL | {"sliding_window": None}, "mixtral": SMALL, "qwen2_tied": SMALL, "qwen3_tied": SMALL,
    "qwen3_moe": SMALL | {"moe_intermediate_size": 32},
    "qwen2_moe": SMALL | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_attention_heads": 2},
    "granite_moe_shared": SMALL | {"shared_intermediate_size": 32, "intermediate_size": 32},
    "deepseek_v3": LATENTS_OF_BLOCKS | {"vocab_size": 64, "n_group": 1, "topk_group": 1, "n_routed_experts": 4},
    "gemma": SMALL, "gemma2": SMALL, "gemma3": SMALL,
    "phi3_longrope": SMALL | {"hidden_size": 64, "sliding_window": 8}, "granite": SMALL, "olmo2": SMALL, "glm": SMALL,
    "glm4": SMALL, "starcoder2": SMALL, "phi": SMALL, "stablelm": SMALL, "olmo": SMALL,
    "falcon_groups": {"vocab_size": 64, "hidden_size": 64, "num_attention_heads": 4},
    "mpt": {"vocab_size": 64, "d_model": 64, "n_heads": 4},
    "bigcode": {"vocab_size": 64, "n_embd": 64, "n_head": 4}}.items()}

# The same weights as a checkpoint above, in the other format.
GGUF_COPIES = {f"gguf_of_{name}": name for name in (
    "llama", "qwen2_tied", "gemma3", "qwen3_tied", "gemma", "gemma2", "phi3_longrope", "granite", "olmo2", "glm", "glm4",
    "starcoder2", "phi", "falcon_multi_query", "falcon_groups", "stablelm", "stablelm_norms_of_heads", "olmo", "mpt",
    "bigcode", "mixtral", "qwen3_moe", "qwen2_moe", "granite_moe", "granite_moe_shared", "deepseek_v2",
    "deepseek_v2_lite", "deepseek_v3")}
# Those written as files of 2024 are, without the names and keys of absorbed attention.
OLD_LATENTS = ("gguf_of_deepseek_v2_lite", "gguf_q4_0_old_latents")


# Mixtures whose first draw has tokens for which two experts score nearly the same: rounding to a narrow type then
# chooses the other one, in transformers as well, and no bound on the result holds.
# The same with a recurrence whose state or stream comes near zero before it is normed; and with gguf_mixed_mamba, at one
# token of whose first draw the scan's terms cancel: float32, also transformers', is 4.5e-4 from float64 there.
OTHER_DRAWS = {"qwen2_moe": 1, "deepseek_moe": 1, "deepseek_moe_mixed": 3, "deepseek_v3": 3, "deepseek_v3_halves": 1,
               "mamba_biases": 6, "falcon_mamba": 8, "gguf_mixed_mixtral": 5, "gguf_mixed_qwen3_moe": 5,
               "gguf_mixed_qwen2_moe": 1, "gguf_mixed_granite_moe_shared": 1, "gguf_mixed_deepseek_moe": 1,
               "gguf_mixed_deepseek_v3": 2,
               "gguf_mixed_mamba": 3, "deepseek_v3_fp8": 1}


def redraw(model, name):
    """Every parameter anew: matrices, norm weights, biases."""
    generator = torch.Generator().manual_seed(sum(name.encode()) + OTHER_DRAWS.get(name, 0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "norm" in name or ".ln_" in name:
                one = 0 if type(model).__name__.startswith("Gemma") else 1  # Gemma's norms add it themselves
                parameter.copy_(one + 0.3 * noise)
            elif name.endswith("A_log"):  # states that last some tens of tokens
                parameter.copy_(0.7 * noise - 2)
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * noise)
            elif "embed" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * 1.6 / parameter.shape[-1] ** 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))


def prompts_for(name, config):
    generator = np.random.default_rng(sum(name.encode()) + 1)
    vocabulary = config.get("text_config", config)["vocab_size"] - (3 if "text_config" in config else 0)
    sizes = (1, 13, 37, LONG_PROMPTS[name]) if name in LONG_PROMPTS else (1, 13, 37)
    return [generator.integers(0, vocabulary, size=n).tolist() for n in sizes]


def depends_on_length(model):
    rope = getattr(model.config, "rope_parameters", {})
    return rope.get("rope_type") in ("dynamic", "longrope")


def logprobs(logits):
    return torch.log_softmax(logits.double(), -1).float()


@torch.no_grad()
def reference(make_model, prompts):
    tensors = {}
    for i, prompt in enumerate(prompts):
        model = make_model()  # anew: its rope remembers the longest sequence it has seen
        ids = torch.tensor([prompt])
        first = model(ids, use_cache=False).logits[0]
        output, distributions = [], []
        if depends_on_length(model):
            model, cache = make_model(), DynamicCache()
            last = model(ids, past_key_values=cache, use_cache=True).logits[0, -1]
            while True:
                distributions.append(logprobs(last))
                output.append(int(last.argmax()))
                if len(output) == OUTPUT_TOKENS:
                    break
                last = model(torch.tensor([[output[-1]]]), past_key_values=cache, use_cache=True).logits[0, -1]
        else:
            last = first[-1]
            while True:
                distributions.append(logprobs(last))
                output.append(int(last.argmax()))
                if len(output) == OUTPUT_TOKENS:
                    break
                last = model(torch.tensor([prompt + output]), use_cache=False).logits[0, -1]
        tensors[f"prompt.{i}"] = torch.tensor(prompt, dtype=torch.int32)
        tensors[f"logprobs.{i}"] = logprobs(first)
        tensors[f"output.{i}"] = torch.tensor(output, dtype=torch.int32)
        tensors[f"output_logprobs.{i}"] = torch.stack(distributions)
    return tensors


def model_class(config):
    return getattr(transformers, config["architectures"][0])


def load(folder, config):
    # With linear biases, Falcon's eager attention adds them twice: in the mask and to the scores.
    attention = "sdpa" if config.get("alibi") else "eager"
    return model_class(config).from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()


# The names of experts' parts on disk: gate, up, down, and what stands before the experts and the router.
EXPERT_NAMES = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"),
                "qwen2_moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
                "qwen3_moe": ("mlp", "gate_proj", "up_proj", "down_proj"),
                "deepseek_v2": ("mlp", "gate_proj", "up_proj", "down_proj"),
                "deepseek_v3": ("mlp", "gate_proj", "up_proj", "down_proj")}
GRANITE_MOES = ("granitemoe", "granitemoeshared")
GRANITE_MOE_NAMES = (("experts.gate_up_proj", "input_linear.weight"), ("experts.down_proj", "output_linear.weight"),
                     ("router.weight", "router.layer.weight"))


def unstacked(tensors, model_type):
    """transformers holds all experts of a layer in two tensors; files have three for every expert."""
    block, gate, up, down = EXPERT_NAMES[model_type]
    out = {}
    for key, value in tensors.items():
        stem = key.split(".mlp.")[0] + "." + block
        if key.endswith(".mlp.gate.weight"):
            out[stem + ".gate.weight"] = value
        elif key.endswith(".experts.gate_up_proj"):
            for e, both in enumerate(value):
                out[f"{stem}.experts.{e}.{gate}.weight"], out[f"{stem}.experts.{e}.{up}.weight"] = (
                    part.contiguous() for part in both.chunk(2))
        elif key.endswith(".experts.down_proj"):
            for e, matrix in enumerate(value):
                out[f"{stem}.experts.{e}.{down}.weight"] = matrix.contiguous()
        else:
            out[key] = value
    return out


def save_shards(folder, tensors, shards):
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map, names = {}, sorted(tensors)
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = names[s::shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1, sort_keys=True) + "\n")


def fresh(name):
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def make_checkpoint(name, config, dtype, shards, layout=None):
    folder = fresh(name)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = model_class(config)(AutoConfig.from_pretrained(folder)).to(torch.float32)
    redraw(model, name)
    tied = model.config.tie_word_embeddings
    tensors = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()
               if not (key == "lm_head.weight" and tied)}
    if config.get("model_type") in EXPERT_NAMES:
        tensors = unstacked(tensors, config["model_type"])
    if config.get("model_type") in GRANITE_MOES:
        tensors = golden_layouts.renamed(tensors, *GRANITE_MOE_NAMES)
    for new, old in OLD_NAMES.get(name, ()):
        tensors = {old + key.removeprefix(new) if key.startswith(new) else key: tensors[key] for key in tensors}
    save_shards(folder, tensors, shards)
    save_file(reference(lambda: load(folder, config), prompts_for(name, config)), folder / "reference.safetensors")
    if name in FOREIGN_NAMES:
        architecture, parts = FOREIGN_NAMES[name]
        for new, old in parts:
            tensors = {key.replace(new, old): tensors[key] for key in tensors}
        save_shards(folder, tensors, shards)
        (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}, indent=1) + "\n")
    if layout is not None:
        stored, tensors = layout(config, tensors)
        save_shards(folder, tensors, shards)
        (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")


def make_float8(name, config, quantisation, scale_type, kept):
    folder = fresh(name)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = model_class(config)(AutoConfig.from_pretrained(folder)).to(torch.float32)
    redraw(model, name)
    tensors = {key: value for key, value in model.state_dict().items()
               if not (key == "lm_head.weight" and model.config.tie_word_embeddings)}
    if config["model_type"] in EXPERT_NAMES:
        tensors = unstacked(tensors, config["model_type"])
    stored, widened = golden_float8.stored_and_widened(tensors, quantisation, scale_type, kept)
    save_shards(folder, widened, 1)
    save_file(reference(lambda: load(folder, config), prompts_for(name, config)), folder / "reference.safetensors")
    save_shards(folder, stored, 1)
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantisation}, indent=1) + "\n")


DEEPSEEKS = {  # name -> changes
    "deepseek_moe": {},
    "deepseek_moe_mixed": {"num_hidden_layers": 4, "first_k_dense_replace": 0, "moe_layer_freq": 2,
                           "norm_topk_prob": True, "n_routed_experts": 5, "num_experts_per_tok": 3,
                           "n_shared_experts": None, "num_key_value_heads": 1, "tie_word_embeddings": True},
}


class Always(torch.nn.Module):
    def forward(self, x):
        return x.new_full((*x.shape[:-1], 1), torch.inf)


@torch.no_grad()
def deepseek_model(name, config):
    """The first DeepSeek mixture, as transformers' Qwen2-MoE whose shared experts' gate is always open; without shared
    experts theirs are 0."""
    layers, shared = config["num_hidden_layers"], config["n_shared_experts"] or 0
    sparse = [i for i in range(layers) if i >= config["first_k_dense_replace"] and i % config["moe_layer_freq"] == 0]
    own = {"n_routed_experts", "n_shared_experts", "first_k_dense_replace", "moe_layer_freq", "scoring_func",
           "architectures", "model_type"}
    model_type = transformers.Qwen2MoeForCausalLM
    same = model_type.config_class(
        **{key: value for key, value in config.items() if key not in own}, qkv_bias=False,
        num_experts=config["n_routed_experts"], mlp_only_layers=[i for i in range(layers) if i not in sparse],
        shared_expert_intermediate_size=(shared or 1) * config["moe_intermediate_size"])
    model = model_type(same).to(torch.float32).eval()
    redraw(model, name)
    for parameter in model.parameters():
        parameter.copy_(parameter.to(torch.bfloat16))
    model.config._attn_implementation = "eager"
    for i in sparse:
        mlp = model.model.layers[i].mlp
        mlp.shared_expert_gate = Always()
        if not shared:
            for parameter in mlp.shared_expert.parameters():
                parameter.zero_()
    return model


def make_deepseek(name, changes):
    folder = fresh(name)
    config = like_llama("Deepseek", "deepseek", hidden_size=48, num_attention_heads=3, num_key_value_heads=3,
                        n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=24, n_shared_experts=2,
                        first_k_dense_replace=1, moe_layer_freq=1, norm_topk_prob=False, scoring_func="softmax",
                        num_hidden_layers=3) | changes
    model = deepseek_model(name, config)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {key: value.to(torch.bfloat16) for key, value in unstacked(model.state_dict(), "qwen2_moe").items()
               if not (key == "lm_head.weight" and config.get("tie_word_embeddings"))
               and (config["n_shared_experts"] or ".shared_expert." not in key)}
    save_shards(folder, golden_layouts.renamed(tensors, (".shared_expert.", ".shared_experts.")), 1)
    save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")


def make_mixed_deepseek(name, original, changes):
    config = json.loads((GOLDEN / original / "config.json").read_text()) | changes
    folder, model = fresh(name), deepseek_model(name, config)
    model.config.model_type = "deepseek"
    stored = write_gguf(gguf_writer(folder / "model.gguf", model.config, {}), model, "MIXED")
    missing, unexpected = model.load_state_dict(stored, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")


@torch.no_grad()
def make_mixed_mamba(name, original, changes):
    folder, config = fresh(name), CHECKPOINTS[original][0] | changes
    model = model_class(config)(model_class(config).config_class(**config)).to(torch.float32).eval()
    redraw(model, name)
    tensors = {key: value for key, value in model.state_dict().items()
               if not (key == "lm_head.weight" and model.config.tie_word_embeddings)}
    missing, _ = model.load_state_dict(golden_layouts.write_mamba_tensors(folder, config, tensors, "MIXED"), strict=False)
    assert missing == ["lm_head.weight"] * model.config.tie_word_embeddings, missing
    model.tie_weights()
    save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")


def make_deepseek_copy(name, original):
    folder = fresh(name)
    model = deepseek_model(original, json.loads((GOLDEN / original / "config.json").read_text()))
    model.config.model_type = "deepseek"
    write_gguf(gguf_writer(folder / "model.gguf", model.config, {}), model, "BF16")
    shutil.copy(GOLDEN / original / "reference.safetensors", folder)


@torch.no_grad()
def make_grouped_mpt(name, kv_heads=2):
    """transformers' MPT has a key and a value for each head; here a group of heads has the same ones, stored once."""
    folder, config = fresh(name), mpt(n_heads=6)
    stored = config | {"attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": kv_heads}}
    (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")
    model = model_class(config)(model_class(config).config_class(**config)).to(torch.float32)
    redraw(model, name)
    model = model.to(torch.bfloat16).to(torch.float32).eval()
    model.config._attn_implementation = "eager"
    tensors = {key: value.to(torch.bfloat16) for key, value in model.state_dict().items() if key != "lm_head.weight"}
    for key, value in model.state_dict().items():
        if not key.endswith("Wqkv.weight"):
            continue
        hidden, group = config["d_model"], config["n_heads"] // kv_heads
        heads = value[hidden:].reshape(2, kv_heads, group, -1, hidden)
        heads.copy_(heads[:, :, :1].clone().expand_as(heads))
        tensors[key] = torch.cat([value[:hidden], heads[:, :, 0].reshape(-1, hidden)]).to(torch.bfloat16).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")


def permute(rows, heads):
    """The order in which llama.cpp's converter stores the rows of q and k: the halves of a head interleaved."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows, heads):
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


GGUF_NAMES = {  # of Llama and Qwen2
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "mlp.gate": "ffn_gate_inp", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "block_sparse_moe.router": "ffn_gate_inp", "shared_mlp.gate_proj": "ffn_gate_shexp",
    "shared_mlp.up_proj": "ffn_up_shexp", "shared_mlp.output_linear": "ffn_down_shexp",
}


SANDWICH_GGUF_NAMES = GGUF_NAMES | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
# Of LayerNorm families, whatever the prefix: no two call different things by one name but Falcon its norms.
LAYER_NORM_GGUF_NAMES = GGUF_NAMES | {
    "model.final_layernorm": "output_norm", "transformer.word_embeddings": "token_embd",
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
    "transformer.norm_f": "output_norm",
    "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "norm_1": "attn_norm", "norm_2": "ffn_norm",
    "self_attn.dense": "attn_output", "self_attention.dense": "attn_output", "attn.out_proj": "attn_output",
    "attn.c_proj": "attn_output", "self_attention.query_key_value": "attn_qkv", "attn.Wqkv": "attn_qkv",
    "attn.c_attn": "attn_qkv", "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
    "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down", "ffn.up_proj": "ffn_up",
    "ffn.down_proj": "ffn_down",
}
LAYER_NORM_TYPES = ("starcoder2", "phi", "falcon", "stablelm", "olmo", "mpt", "persimmon", "gpt_bigcode")
GLM4_GGUF_NAMES = GGUF_NAMES | {"post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"}
NAMES_BY_TYPE = {"gemma2": SANDWICH_GGUF_NAMES, "gemma3_text": SANDWICH_GGUF_NAMES, "olmo2": SANDWICH_GGUF_NAMES,
                 "glm4": GLM4_GGUF_NAMES} | dict.fromkeys(LAYER_NORM_TYPES, LAYER_NORM_GGUF_NAMES)
# Where it is not the model type.
GGUF_ARCHITECTURES = {"gemma3_text": "gemma3", "glm": "chatglm", "phi": "phi2", "gpt_bigcode": "starcoder",
                      "mistral": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
                      "granitemoeshared": "granitemoe", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2"}
GEMMAS = ("gemma", "gemma2", "gemma3_text")  # norms are written with one added
# Rows of heads are written interleaved.
PERMUTED = ("llama", "granite", "olmo", "mistral", "mixtral", "deepseek", *GRANITE_MOES)


def gguf_name(name, config):
    names = NAMES_BY_TYPE.get(config.model_type, GGUF_NAMES)
    stem, kind = name.rsplit(".", 1)
    if kind == "e_score_correction_bias":
        return f"blk.{stem.split('.')[2]}.exp_probs_b.bias"
    if stem.startswith(("model.layers.", "transformer.h.", "transformer.blocks.")):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{names[part]}.{kind}"
    return f"{names[stem]}.{kind}"


def gguf_heads(name, config):
    if config.model_type not in PERMUTED:
        return 0
    if ".q_proj" in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".k_proj" in name else 0


def write_layer_norm_keys(writer, config):
    """As llama.cpp's converter does for these architectures."""
    def first(*names, default=None):
        return next((v for v in (getattr(config, n, None) for n in names) if v is not None), default)

    heads, hidden = config.num_attention_heads, config.hidden_size
    kv_heads = first("num_key_value_heads", "num_kv_heads", default=heads)
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        kv_heads = 1 if config.multi_query else heads
    head_dim = first("head_dim", default=hidden // heads)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(first("max_position_embeddings", "max_seq_len"))
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(first("intermediate_size", "ffn_hidden_size", "n_inner", default=4 * hidden))
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_eps(first("norm_epsilon", "layer_norm_eps", "layer_norm_epsilon", default=1e-5))
    if config.model_type == "mpt":
        writer.add_max_alibi_bias(config.attn_config.alibi_bias_max)
        writer.add_clamp_kqv(config.attn_config.clip_qkv)
    elif config.model_type != "gpt_bigcode":
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(int(head_dim * config.rope_parameters.get("partial_rotary_factor", 1)))
    if config.model_type == "olmo":
        writer.add_clamp_kqv(config.clip_qkv)
    if config.model_type == "starcoder2":
        writer.add_sliding_window(config.sliding_window)


def stacked_qkv(rows, config):
    """Falcon's rows by key-value head, as llama.cpp's converter stacks them: queries, keys, values."""
    kv_heads = config.num_kv_heads if config.new_decoder_architecture else 1
    groups = rows.reshape(kv_heads, config.num_attention_heads // kv_heads + 2, -1, *rows.shape[1:])
    return np.concatenate([part.reshape(-1, *rows.shape[1:])
                           for part in (groups[:, :-2], groups[:, -2], groups[:, -1])])


def unstacked_qkv(rows, config):
    kv_heads = config.num_kv_heads if config.new_decoder_architecture else 1
    q = rows[: -2 * kv_heads * config.head_dim].reshape(kv_heads, -1, *rows.shape[1:])
    kv = rows[-2 * kv_heads * config.head_dim :].reshape(2, kv_heads, -1, *rows.shape[1:])
    return np.concatenate([q, kv[0], kv[1]], axis=1).reshape(rows.shape)


def stacked_norms(tensors):
    """Norms of single heads in one tensor for each layer, [heads, head_dim]."""
    out, heads = {}, {}
    for key, value in tensors.items():
        if ".norms." not in key:
            out[key] = value
            continue
        stem, head = key.removesuffix(".weight").split(".norms.")
        heads.setdefault(stem + ".weight", {})[int(head)] = value
    return out | {key: torch.stack([parts[h] for h in sorted(parts)]) for key, parts in heads.items()}


def add_expert_keys(writer, config):
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    experts = experts or getattr(config, "n_routed_experts", None)
    if not experts:
        return
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    shared = getattr(config, "shared_expert_intermediate_size", 0) or getattr(config, "shared_intermediate_size", 0)
    if config.model_type == "deepseek":
        writer.add_leading_dense_block_count(len(config.mlp_only_layers))
        writer.add_expert_weights_scale(1.0)
        writer.add_expert_shared_count(shared // config.moe_intermediate_size)
    elif shared:
        writer.add_expert_shared_feed_forward_length(shared)


def write_deepseek_keys(writer, config, old):
    """As llama.cpp's converter does; files of 2024 tell of heads where later ones tell of the absorbed key."""
    rope, key = config.qk_rope_head_dim, config.qk_nope_head_dim + config.qk_rope_head_dim
    writer.add_head_count_kv(config.num_key_value_heads if old else 1)
    writer.add_key_length(key if old else config.kv_lora_rank + rope)
    writer.add_value_length(config.v_head_dim if old else config.kv_lora_rank)
    if not old:
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(config.v_head_dim)
    if config.q_lora_rank is not None:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_rope_dimension_count(rope)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    if config.model_type == "deepseek_v3":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if not old:
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)
    scaling = config.rope_parameters
    if scaling["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])


def gguf_writer(path, config, scaling):
    writer = gguf.GGUFWriter(path, GGUF_ARCHITECTURES.get(config.model_type, config.model_type))
    if config.model_type in LAYER_NORM_TYPES:
        write_layer_norm_keys(writer, config)
        return writer
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type.startswith("deepseek_v"):
        write_deepseek_keys(writer, config, path.parent.name in OLD_LATENTS)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if not config.model_type.startswith("deepseek_v"):
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(int(head_dim * (rope.get("partial_rotary_factor") or 1)))
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
        writer.add_uint32("gemma3.attention.sliding_window_pattern", config.layer_types.index("full_attention") + 1)
        scaling = rope["full_attention"] | {"type": rope["full_attention"]["rope_type"]}
    if config.model_type == "gemma2":
        writer.add_sliding_window(config.sliding_window)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        ratio = config.max_position_embeddings / config.original_max_position_embeddings
        writer.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(ratio) / math.log(config.original_max_position_embeddings)))
    add_expert_keys(writer, config)
    if config.model_type in ("granite", *GRANITE_MOES):
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["type"]))
        writer.add_rope_scaling_factor(scaling["factor"])
        if "orig_ctx" in scaling:
            writer.add_rope_scaling_orig_ctx_len(scaling["orig_ctx"])
    return writer


# The gguf package reads k-quants and does not make them: random quants under scales that give ordinary weights.
K_KINDS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def random_k_quants(shape, kind, seed):
    tensor_type = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[tensor_type][1]
    data = np.random.default_rng(seed).integers(0, 256, size=(shape[0], shape[1] // 256, size), dtype=np.uint8)
    for at in K_KINDS[kind]:  # a scale of one, to see how large the numbers are
        data[..., at : at + 2] = np.array([1], dtype=np.float16).view(np.uint8)
    if kind in ("Q2_K", "Q4_K", "Q5_K"):  # least values are as large as the middle of the quants
        data[..., K_KINDS[kind][1] : K_KINDS[kind][1] + 2] = np.array(
            [{"Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5}[kind]], dtype=np.float16).view(np.uint8)
    deviation = gguf.quants.dequantize(data.reshape(shape[0], -1), tensor_type).std()
    for at in K_KINDS[kind]:
        halves = data[..., at : at + 2].copy().view(np.float16)
        scaled = (halves * (1.6 / shape[1] ** 0.5 / deviation)).astype(np.float16)
        data[..., at : at + 2] = scaled.view(np.uint8)
    return data.reshape(shape[0], -1), tensor_type


# Never quantised, by llama.cpp either.
ROUTERS = (".mlp.gate.weight", ".block_sparse_moe.gate.weight", ".router.layer.weight")


def quantised(rows, key, kind):
    if rows.ndim == 1 or "layernorm" in key:
        return rows.astype(np.float32), gguf.GGMLQuantizationType.F32
    kind = "F32" if key.endswith(ROUTERS) else golden_layouts.kind_of(rows.shape, key, kind)
    if kind == "K":
        kinds = ("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")
        seed = sum(key.encode())
        return random_k_quants(rows.shape, kinds[seed % len(kinds)], seed)
    tensor_type = gguf.GGMLQuantizationType[kind]
    return gguf.quants.quantize(rows, tensor_type), tensor_type


def add_experts(writer, key, rows, kind):
    """All experts of a layer in one tensor [experts, out, in]; returns them as the file has them."""
    parts = {"gate": rows[:, : rows.shape[1] // 2], "up": rows[:, rows.shape[1] // 2 :]}
    widened = []
    for part, stack in parts.items() if key.endswith("gate_up_proj") else (("down", rows),):
        data, tensor_type = quantised(np.ascontiguousarray(stack), f"{key}.{part}.weight", kind)
        writer.add_tensor(f"blk.{key.split('.')[2]}.ffn_{part}_exps.weight", data, raw_dtype=tensor_type)
        widened.append(gguf.quants.dequantize(data, tensor_type).reshape(stack.shape))
    return np.concatenate(widened, axis=1)


def add_latents(writer, key, rows, kind, config):
    """What makes keys and values of a latent, [heads, rank, key] (for queries) and [heads, value, rank]; returns it as
    the file has it."""
    heads = rows.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
    parts = {"k": heads[:, : config.qk_nope_head_dim].swapaxes(1, 2), "v": heads[:, config.qk_nope_head_dim :]}
    widened = {}
    for part, matrices in parts.items():
        data, tensor_type = quantised(np.ascontiguousarray(matrices), f"{key}.{part}.weight", kind)
        writer.add_tensor(f"blk.{key.split('.')[2]}.attn_{part}_b.weight", data, raw_dtype=tensor_type)
        widened[part] = gguf.quants.dequantize(data, tensor_type).reshape(matrices.shape)
    return np.concatenate([widened["k"].swapaxes(1, 2), widened["v"]], axis=1).reshape(rows.shape)


def write_gguf(writer, model, kind):
    """Returns the weights as the file has them, with the names and rows of transformers."""
    config, stored = model.config, {}
    for key, value in stacked_norms(model.state_dict()).items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        rows, heads = value.float().numpy(), gguf_heads(key, config)
        if config.model_type in GEMMAS and "norm" in key:
            rows = rows + np.float32(1)  # as llama.cpp's converter writes them
        if ".self_attention.query_key_value." in key:
            rows = stacked_qkv(rows, config)
        if heads:
            rows = permute(rows, heads)
        if key.endswith(".kv_b_proj.weight") and writer.path.parent.name not in OLD_LATENTS:
            stored[key] = torch.from_numpy(add_latents(writer, key, rows, kind, config))
            continue
        if ".experts." in key:
            stored[key] = torch.from_numpy(add_experts(writer, key, rows, kind))
            continue
        if key.endswith("shared_mlp.input_linear.weight"):
            halves = []
            for part, half in zip(("gate_proj", "up_proj"), np.split(rows, 2)):
                half_key = key.replace("input_linear", part)
                data, tensor_type = quantised(half, half_key, kind)
                writer.add_tensor(gguf_name(half_key, config), data, raw_dtype=tensor_type)
                halves.append(gguf.quants.dequantize(data, tensor_type).reshape(half.shape))
            stored[key] = torch.from_numpy(np.concatenate(halves))
            continue
        if key.endswith(".shared_expert_gate.weight"):
            rows = rows[0]
        data, tensor_type = quantised(rows, key, kind)
        writer.add_tensor(gguf_name(key, config), data, raw_dtype=tensor_type)
        widened = gguf.quants.dequantize(data, tensor_type).reshape(value.shape)
        if config.model_type in GEMMAS and "norm" in key:
            widened = widened - np.float32(1)
        if heads:
            widened = unpermute(widened, heads)
        if ".self_attention.query_key_value." in key:
            widened = unstacked_qkv(widened, config)
        if key.endswith("_layernorm.weight") and widened.ndim == 2:
            for head, norm in enumerate(widened):
                stored[key.replace(".weight", f".norms.{head}.weight")] = torch.from_numpy(np.array(norm))
        else:
            stored[key] = torch.from_numpy(np.array(widened))
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        scaled = model.model.rotary_emb.inv_freq
        exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        plain = 1.0 / rope["rope_theta"] ** exponent
        writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy().astype(np.float32))
    for factors in ("long", "short"):
        if f"{factors}_factor" in rope:
            writer.add_tensor(f"rope_factors_{factors}.weight", np.array(rope[f"{factors}_factor"], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def make_gguf(name, config, kind, scaling):
    folder = fresh(name)
    model_type = model_class(config)
    prompts = prompts_for(name, config)
    config = model_type.config_class(**{k: v for k, v in config.items() if k != "architectures"})
    model = model_type(config)
    redraw(model, name)
    stored = write_gguf(gguf_writer(folder / "model.gguf", config, scaling), model, kind)

    def widened_model():
        copy = model_type(config).to(torch.float32)
        copy.config._attn_implementation = "eager"
        missing, unexpected = copy.load_state_dict(stored, strict=False)
        assert not unexpected and missing == ["lm_head.weight"] * config.tie_word_embeddings, (missing, unexpected)
        copy.tie_weights()
        return copy.eval()

    save_file(reference(widened_model, prompts), folder / "reference.safetensors")


def make_candle(name, config, kind):
    folder = fresh(name)

    def empty():
        return model_class(config)(model_class(config).config_class(**config)).to(torch.float32)

    model = empty()
    redraw(model, name)
    tensors = {key: value for key, value in model.state_dict().items()
               if not (key == "lm_head.weight" and model.config.tie_word_embeddings)}
    stored = golden_layouts.write_candle_gguf(folder, config, tensors, kind)
    model = empty().eval()
    model.load_state_dict(stored, strict=False)
    model.tie_weights()
    model.config._attn_implementation = "eager"
    save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")


OTHER_MIXED_GGUFS = {
    "gguf_mixed_deepseek_moe": (make_mixed_deepseek, "deepseek_moe", SMALL | {
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "moe_intermediate_size": 32}),
    "gguf_mixed_mamba": (make_mixed_mamba, "mamba", {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "time_step_rank": 32, "num_hidden_layers": 2}),
    "gguf_mixed_falcon_mamba": (make_mixed_mamba, "falcon_mamba", {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "time_step_rank": 32, "num_hidden_layers": 2})}


def make_gguf_copy(name, original):
    """The reference is the original's: the weights are the same numbers."""
    folder = fresh(name)
    model = load(GOLDEN / original, json.loads((GOLDEN / original / "config.json").read_text()))
    write_gguf(gguf_writer(folder / "model.gguf", model.config, {}), model, "BF16")
    shutil.copy(GOLDEN / original / "reference.safetensors", folder)


def make_dequantize():
    """Random bytes of every block type, and what the gguf package makes of them, to the bit."""
    generator = np.random.default_rng(7)
    specials = np.array([0x0000, 0x8000, 0x0001, 0x83ff, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe01,
                         0x3c00, 0xbc00], dtype=np.uint16)
    tensors = {}
    # Where a block's halves stand: its scale, and its least value or the scale of its least values.
    halves = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82),
              "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
    for kind in ("F32", "F16", "BF16", *halves):
        tensor_type = gguf.GGMLQuantizationType[kind]
        elements, size = gguf.GGML_QUANT_SIZES[tensor_type]
        blocks = {1: 512, 32: 64, 256: 34}[elements]
        data = generator.integers(0, 256, size=(blocks, size), dtype=np.uint8)
        if kind in halves:  # every class of number, one half at a time; the other is an ordinary one
            for i in range(len(specials)):
                for n, at in enumerate(halves[kind]):
                    for other in halves[kind]:
                        data[i + 16 * n, other : other + 2] = np.array([0x2e66], dtype=np.uint16).view(np.uint8)
                    data[i + 16 * n, at : at + 2] = specials[i : i + 1].view(np.uint8)
        elif kind == "F16":
            data[: len(specials)] = specials.view(np.uint8).reshape(-1, 2)
        with np.errstate(all="ignore"):
            widened = gguf.quants.dequantize(data.reshape(1, -1), tensor_type).reshape(-1)
        tensors[f"{kind}.bytes"] = torch.from_numpy(data.reshape(-1))
        tensors[f"{kind}.f32_bits"] = torch.from_numpy(np.array(widened, dtype=np.float32).view(np.int32).copy())
    save_file(tensors, GOLDEN / "dequantize.safetensors")


SMOLLM2_PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWrite three facts about whales.<|im_end|>\n<|im_start|>assistant\n",
    "Q: How many legs does a spider have?\nA:",
]
GEMMA3_PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "Die Hauptstadt von Japan",
    # Longer than the window of 512.
    "".join(f"Day {i}: the ship sailed {i * 7 % 31} miles and the crew saw {i * 5 % 13} whales.\n" for i in range(1, 26)),
]
# Of every other prompt, a continuation that the output's own tokens push on.
PENALTIES = [
    {"repetition_penalty": 1.3, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    {"repetition_penalty": 1.0, "frequency_penalty": 0.6, "presence_penalty": 0.4},
    {"repetition_penalty": 1.15, "frequency_penalty": 0.2, "presence_penalty": -0.3},
]


def penalised(logits, prompt, output, penalties):
    """Repetition over prompt and output, as transformers has it; then the other two over the output."""
    seen = torch.tensor(sorted(set(prompt + output)))
    chosen = logits[seen]
    factor = penalties["repetition_penalty"]
    logits[seen] = torch.where(chosen > 0, chosen / factor, chosen * factor)
    for token in set(output):
        logits[token] -= penalties["frequency_penalty"] * output.count(token)
        logits[token] -= penalties["presence_penalty"]
    return logits


def continuation(model, prompt, penalties, tokens):
    """Found with a cache; then one pass without says what each token's lead was, and whether it is the best."""
    def chosen(logits, output):
        return penalised(logits.clone(), prompt, output, penalties) if penalties else logits

    output, cache, fed = [], DynamicCache(config=model.config), prompt
    while len(output) < tokens:
        last = model(torch.tensor([fed]), past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        output.append(int(chosen(last, output).argmax()))
        fed = output[-1:]
    rows = model(torch.tensor([prompt + output[:-1]]), use_cache=False, logits_to_keep=tokens).logits[0]
    gaps = []
    for i, row in enumerate(rows):
        top = chosen(row, output[:i]).topk(2)
        assert int(top.indices[0]) == output[i] or float(top.values[0] - top.values[1]) < 1e-4
        gaps.append(round(float(top.values[0] - top.values[1]), 6))
    return {"prompt": prompt, "output": output, "top2_gap": gaps} | ({"penalties": penalties} if penalties else {})


def check_loaded(reader, model):
    """The loader must have given exactly the dequantised weights."""
    def stored(name):
        tensor = next(t for t in reader.tensors if t.name == name)
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    query = stored("blk.0.attn_q.weight")
    if model.config.model_type == "llama":
        query = unpermute(query, model.config.num_attention_heads)
    assert np.array_equal(stored("token_embd.weight"), model.model.embed_tokens.weight.numpy())
    assert np.array_equal(query, model.model.layers[0].self_attn.q_proj.weight.numpy())
    one = 1 if model.config.model_type == "gemma3_text" else 0
    assert np.allclose(stored("blk.0.attn_norm.weight"), one + model.model.layers[0].input_layernorm.weight.numpy())


@torch.no_grad()
def make_continuations(path, name, prompts, first_ids, tokens):
    """Greedy continuations of a real model in float32 on its dequantised weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = pathlib.Path(path)
    options = {"gguf_file": path.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, attn_implementation="eager",
                                                 **options)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    check_loaded(gguf.GGUFReader(path), model)
    cases = []
    for i, text in enumerate(prompts):
        prompt = first_ids + tokenizer(text, add_special_tokens=False)["input_ids"]
        for penalties in (None, PENALTIES[i // 2 % len(PENALTIES)] if i % 2 == 0 else None)[: 2 - i % 2]:
            cases.append({"text": text} | continuation(model, prompt, penalties, tokens))
            print(len(prompt), repr(tokenizer.decode(cases[-1]["output"])), min(cases[-1]["top2_gap"]), file=sys.stderr)
    (GOLDEN / name).write_text(json.dumps({"cases": cases}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--smollm2", metavar="FILE")
    parser.add_argument("--gemma3", metavar="FILE")
    options = parser.parse_args()
    if options.smollm2:
        make_continuations(options.smollm2, "smollm2.json", SMOLLM2_PROMPTS, [], 48)
        return
    if options.gemma3:  # the model expects its first token, 2, in front; transformers' GGUF tokenizer has none
        make_continuations(options.gemma3, "gemma3_270m.json", GEMMA3_PROMPTS, [2], 40)
        return
    for name, (config, dtype, shards) in CHECKPOINTS.items():
        if not options.names or name in options.names:
            make_checkpoint(name, config, dtype, shards)
    for name, (config, dtype, layout) in golden_layouts.CHECKPOINTS.items():
        if not options.names or name in options.names:
            make_checkpoint(name, config, dtype, 1, layout)
    for name, description in golden_float8.CHECKPOINTS.items():
        if not options.names or name in options.names:
            make_float8(name, *description)
    for name in golden_layouts.MPTS:
        if not options.names or name in options.names:
            folder, (config, tensors, model) = fresh(name), golden_layouts.make_mpt(name)
            (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
            save_shards(folder, tensors, 1)
            save_file(reference(lambda: model, prompts_for(name, config)), folder / "reference.safetensors")
    if not options.names or "mpt_grouped" in options.names:
        make_grouped_mpt("mpt_grouped")
    for name, changes in DEEPSEEKS.items():
        if not options.names or name in options.names:
            make_deepseek(name, changes)
    if not options.names or "gguf_of_deepseek_moe" in options.names:
        make_deepseek_copy("gguf_of_deepseek_moe", "deepseek_moe")
    for name, (config, kind, scaling) in GGUFS.items():
        if not options.names or name in options.names:
            make_gguf(name, config, kind, scaling)
    for name, config in MIXED_GGUFS.items():
        if not options.names or name in options.names:
            make_gguf(name, config, "MIXED", {})
    for name, (make, original, changes) in OTHER_MIXED_GGUFS.items():
        if not options.names or name in options.names:
            make(name, original, changes)
    for name, (config, kind) in golden_layouts.CANDLE.items():
        if not options.names or name in options.names:
            make_candle(name, config, kind)
    for name, original in GGUF_COPIES.items():
        if not options.names or name in options.names:
            make_gguf_copy(name, original)
    for name, (original, write) in golden_layouts.GGUF_COPIES.items():
        if not options.names or name in options.names:
            folder = fresh(name)
            write(folder, GOLDEN / original)
            shutil.copy(GOLDEN / original / "reference.safetensors", folder)
    if not options.names or "dequantize" in options.names:
        make_dequantize()


if __name__ == "__main__":
    main()
