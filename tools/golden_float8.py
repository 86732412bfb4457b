"""Checkpoints whose weights have eight bits, for make_golden.py: F8_E4M3 and the scales of blocks beside them, as
DeepSeek V3 and Qwen3 are published."""

import torch

LARGEST = 448.0


def deepseek_v3():
    return {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 64, "hidden_size": 144,
            "intermediate_size": 136, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 6,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10000.0,
            "first_k_dense_replace": 1, "moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 2.5,
            "q_lora_rank": 20, "kv_lora_rank": 24, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10}


def qwen3():
    return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 80, "hidden_size": 136,
            "intermediate_size": 144, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1,
            "head_dim": 48, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "rope_theta": 1000000.0, "tie_word_embeddings": True}


FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
# name -> (config, quantization_config, type of the scales, ends of the names of what is not converted)
CHECKPOINTS = {
    "deepseek_v3_fp8": (deepseek_v3(), FP8, torch.float32, ("lm_head.weight", ".mlp.gate.weight")),
    "qwen3_fp8": (qwen3(), FP8 | {"modules_to_not_convert": ["lm_head", "model.layers.0.self_attn.o_proj"]},
                  torch.bfloat16, (".o_proj.weight",)),
}


def quantised(matrix, block, scale_type):
    """Numbers of eight bits, the scales of their blocks, and what both stand for, in f32."""
    (rows, cols), (height, width) = matrix.shape, block
    down, across = -(-rows // height), -(-cols // width)
    padded = torch.nn.functional.pad(matrix, (0, across * width - cols, 0, down * height - rows))
    largest = padded.reshape(down, height, across, width).abs().amax((1, 3))
    scales = (largest / LARGEST).to(scale_type)
    spread = scales.float().repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :cols]
    eight = (matrix / spread).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return eight, scales, eight.float() * spread


def stored_and_widened(tensors, quantisation, scale_type, kept):
    """The tensors as the file has them, and as what they stand for under the same names."""
    stored, widened = {}, {}
    for key, value in tensors.items():
        if value.dim() == 2 and "embed" not in key and not key.endswith(kept):
            stored[key], stored[key + "_scale_inv"], widened[key] = quantised(
                value, quantisation["weight_block_size"], scale_type)
        else:
            stored[key] = value if key.endswith("e_score_correction_bias") else value.to(torch.bfloat16)
            widened[key] = stored[key].float()
    return stored, widened
