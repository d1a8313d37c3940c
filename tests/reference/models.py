"""Tiny random models of the families that users train, built in code."""

import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

LOCAL_GLOBAL = ["sliding_attention", "full_attention", "sliding_attention"]

# Gemma 2 under sdpa leaves its softcap out, so only eager shows it.
CONFIGS = {
    "qwen2": (Qwen2Config, {}, "sdpa"),
    "qwen3": (Qwen3Config, {}, "sdpa"),
    "llama": (LlamaConfig, {}, "sdpa"),
    "mistral": (MistralConfig, {"sliding_window": 9}, "sdpa"),
    "gemma2": (Gemma2Config, {"sliding_window": 9, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}, "eager"),
    "gemma3": (
        Gemma3TextConfig,
        {"sliding_window": 9, "query_pre_attn_scalar": 8, "layer_types": LOCAL_GLOBAL},
        "sdpa",
    ),
    "phi3": (Phi3Config, {}, "sdpa"),
    "gpt_oss": (GptOssConfig, {"sliding_window": 9, "num_local_experts": 2, "num_experts_per_tok": 1}, "eager"),
}


# Layers of linear attention beside one that goes through the attention interface.
HYBRID = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}


LATENT = {
    "head_dim": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 6,
}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
OTHERS = {
    "qwen3_next": (Qwen3NextConfig, HYBRID, "sdpa"),
    "qwen3_moe": (Qwen3MoeConfig, EXPERTS, "sdpa"),
    "deepseek_v3": (DeepseekV3Config, LATENT, "sdpa"),
    "gpt_neox": (GPTNeoXConfig, {}, "sdpa"),
}


def build(family: str, attention: str | None = None, **shape: int) -> PreTrainedModel:
    """A random model with attention that is far from uniform."""
    config_class, extra, default = {**CONFIGS, **OTHERS}[family]
    config = config_class(**{**SHAPE, **extra, **shape})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention or default).float().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 or "q_norm" in name or "k_norm" in name:
            parameter.data.mul_(8.0 if parameter.ndim == 2 else 2.0)
    return model
