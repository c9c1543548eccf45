"""Tiny random models of every decoder family: one config for each set of options that is worth a test.

CASES maps a name to Case(config class of transformers, options, dtype on disk). The part of a name before the first
"-" is the model_type. random_model() gives weights that the dtype holds exactly, scaled so that logits are not flat.
"""
from dataclasses import dataclass, field

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
TOKENS, PROMPT, GREEDY = 48, 12, 16


@dataclass
class Case:
    config: str
    options: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16
    attention: str = "eager"
    model: str = ""  # class of transformers, where it isn't AutoModelForCausalLM's
    dropped: tuple = ()  # beginnings of names that the stored checkpoint goes without


# The spelling of most families.
LLAMA = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
# GPT-2's.
GPT = dict(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)


def llama(config, dtype=torch.bfloat16, **options):
    return Case(config, {**LLAMA, **options}, dtype)


def without(options, *keys):
    return {key: value for key, value in options.items() if key not in keys}


def rope(kind="default", theta=10000.0, **options):
    return {"rope_type": kind, "rope_theta": theta, **options}


# A vision tower as small as it gets.
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)


def wrapped(config, model, text_config, tower, **options):
    """A language model behind a vision tower; text_config as a file may have it."""
    return Case(config, dict(text_config=text_config, vision_config=dict(model_type=tower, **VISION), **options),
                model=model)


def chameleon(**options):
    """Nine image tokens, in two runs of ids; the file keeps two tensors of the image tokenizer."""
    image = {f"IMGIMG{letter}Z": 4 + i for i, letter in enumerate("ABCDEF")}
    image.update(IMGIMGBAZ=20, IMGIMGBBZ=21, IMGIMGBCZ=22)
    tokenizer = dict(base_channels=32, channel_multiplier=[1], num_res_blocks=1, latent_channels=8, embed_dim=8,
                     num_embeddings=9, resolution=8)
    return Case("ChameleonConfig", {**LLAMA, "vocabulary_map": {"<image>": 23, **image}, "vq_config": tokenizer, **options},
                model="ChameleonForConditionalGeneration",
                dropped=("model.vqmodel.encoder", "model.vqmodel.quant_conv", "model.vqmodel.post"))


SLIDING = ["sliding_attention", "full_attention"]
LONG = dict(original_max_position_embeddings=32, max_position_embeddings=64)
CASES = {
    "mistral-window": llama("MistralConfig", sliding_window=7, num_hidden_layers=3),
    "mistral-head_dim": llama("MistralConfig", sliding_window=None, head_dim=12, rope_parameters=rope(theta=1e6)),
    "qwen2-tied": llama("Qwen2Config", tie_word_embeddings=True),
    "qwen2-window": llama("Qwen2Config", torch.float16, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": llama("Qwen3Config", head_dim=12),
    "qwen3-window": llama("Qwen3Config", head_dim=8, attention_bias=True, tie_word_embeddings=True,
                          use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "gemma": llama("GemmaConfig", head_dim=12, num_key_value_heads=1),
    "gemma2": llama("Gemma2Config", head_dim=12, query_pre_attn_scalar=20, sliding_window=6,
                    attn_logit_softcapping=5.0, final_logit_softcapping=4.0),
    "gemma2-plain": llama("Gemma2Config", head_dim=8, query_pre_attn_scalar=8, sliding_window=6, num_hidden_layers=3,
                          attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True),
    "gemma3_text": llama("Gemma3TextConfig", head_dim=12, query_pre_attn_scalar=10, sliding_window=6,
                         num_hidden_layers=4, layer_types=SLIDING[:1] * 3 + SLIDING[1:],
                         rope_parameters={"full_attention": rope("linear", 1e6, factor=8.0),
                                          "sliding_attention": rope()}),
    "gemma3_text-softcap": llama("Gemma3TextConfig", head_dim=8, query_pre_attn_scalar=8, sliding_window=5,
                                 layer_types=SLIDING, final_logit_softcapping=3.0),
    "phi3-window": llama("Phi3Config", sliding_window=9),
    "phi3-longrope": llama("Phi3Config", **{**LONG, "tie_word_embeddings": True, "hidden_size": 64}, rope_parameters=rope(
        "longrope", partial_rotary_factor=0.75, factor=2.0, original_max_position_embeddings=32,
        short_factor=[1.0, 1.1, 1.2, 1.4, 1.7, 2.0], long_factor=[1.5, 2.0, 3.0, 4.0, 5.0, 6.0])),
    "phi": llama("PhiConfig", rope_parameters=rope(partial_rotary_factor=0.5)),
    "phi-qk": llama("PhiConfig", qk_layernorm=True, num_key_value_heads=4, hidden_act="gelu",
                    rope_parameters=rope(partial_rotary_factor=0.25)),
    "gpt2": Case("GPT2Config", GPT),
    "gpt2-inverse_layer": Case("GPT2Config", {**GPT, "n_inner": 48, "activation_function": "relu",
                                              "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
    "gpt2-unscaled": Case("GPT2Config", {**GPT, "scale_attn_weights": False}),
    "gptj": Case("GPTJConfig", {**GPT, "rotary_dim": 4}),
    "gptj-full": Case("GPTJConfig", {**GPT, "rotary_dim": 8, "n_inner": 40, "tie_word_embeddings": False}),
    "gpt_neo": Case("GPTNeoConfig", dict(
        vocab_size=64, max_position_embeddings=64, hidden_size=32, num_layers=2, num_heads=4, window_size=7,
        attention_types=[[["global", "local"], 1]], bos_token_id=1, eos_token_id=2)),
    "gpt_neox": Case("GPTNeoXConfig", {**without(LLAMA, "num_key_value_heads"), "rope_parameters": rope(
        partial_rotary_factor=0.5)}),
    "gpt_neox-serial": Case("GPTNeoXConfig", {**without(LLAMA, "num_key_value_heads"), "use_parallel_residual": False,
                                              "attention_bias": False, "tie_word_embeddings": True,
                                              "rope_parameters": rope(theta=5000.0, partial_rotary_factor=0.25)}),
    "opt": Case("OPTConfig", dict(vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
                                  max_position_embeddings=64, word_embed_proj_dim=32, bos_token_id=1, eos_token_id=2,
                                  pad_token_id=0)),
    "opt-post_norm": Case("OPTConfig", dict(
        vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, do_layer_norm_before=False,
        max_position_embeddings=64, word_embed_proj_dim=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)),
    "opt-no_bias": Case("OPTConfig", dict(
        vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, enable_bias=False,
        layer_norm_elementwise_affine=False, tie_word_embeddings=False, activation_function="gelu",
        max_position_embeddings=64, word_embed_proj_dim=32, bos_token_id=1, eos_token_id=2, pad_token_id=0)),
    "bloom": Case("BloomConfig", dict(vocab_size=64, hidden_size=36, n_layer=2, n_head=6, bos_token_id=1,
                                      eos_token_id=2)),
    "bloom-normed_residual": Case("BloomConfig", dict(
        vocab_size=64, hidden_size=32, n_layer=2, n_head=4, apply_residual_connection_post_layernorm=True,
        bos_token_id=1, eos_token_id=2)),
    "falcon-7b": Case("FalconConfig", dict(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, multi_query=True,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2)),
    "falcon-40b": Case("FalconConfig", dict(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2, bias=True,
        new_decoder_architecture=True, max_position_embeddings=64, bos_token_id=1, eos_token_id=2)),
    "falcon-11b": Case("FalconConfig", dict(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2, ffn_hidden_size=40,
        new_decoder_architecture=True, num_ln_in_parallel_attn=1, tie_word_embeddings=False,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2)),
    "falcon-rw": Case("FalconConfig", dict(
        vocab_size=64, hidden_size=36, num_hidden_layers=2, num_attention_heads=6, multi_query=False, alibi=True,
        parallel_attn=False, bias=True, max_position_embeddings=64, bos_token_id=1, eos_token_id=2),
        attention="sdpa"),  # eager attention of transformers 5.17 counts ALiBi twice
    "stablelm": llama("StableLmConfig", rope_parameters=rope(partial_rotary_factor=0.5)),
    "stablelm-qk": llama("StableLmConfig", use_qkv_bias=True, qk_layernorm=True, use_parallel_residual=True,
                         tie_word_embeddings=True, rope_parameters=rope(partial_rotary_factor=0.25)),
    "starcoder2": llama("Starcoder2Config", sliding_window=7),
    "starcoder2-no_bias": llama("Starcoder2Config", use_bias=False, sliding_window=None, tie_word_embeddings=False),
    "olmo": llama("OlmoConfig"),
    "olmo-clip": llama("OlmoConfig", clip_qkv=0.7, attention_bias=True, tie_word_embeddings=True),
    "olmo2": llama("Olmo2Config"),
    "cohere": llama("CohereConfig", logit_scale=0.25),
    "cohere-qk": llama("CohereConfig", logit_scale=0.5, use_qk_norm=True, attention_bias=True),
    "cohere2": llama("Cohere2Config", logit_scale=0.5, sliding_window=6, layer_types=SLIDING),
    "granite": llama("GraniteConfig", embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.4,
                     attention_multiplier=0.2),
    "granite-bias": llama("GraniteConfig", embedding_multiplier=0.5, logits_scaling=0.7, residual_multiplier=1.3,
                          attention_multiplier=0.5, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "smollm3": llama("SmolLM3Config", num_hidden_layers=4, no_rope_layer_interval=3),
    "smollm3-window": llama("SmolLM3Config", no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=6,
                            layer_types=SLIDING),
    "glm4": llama("Glm4Config", head_dim=12, rope_parameters=rope(partial_rotary_factor=0.5)),
    "mixtral": llama("MixtralConfig", num_local_experts=4, num_experts_per_tok=2, intermediate_size=24),
    "mixtral-window": llama("MixtralConfig", num_local_experts=3, num_experts_per_tok=1, intermediate_size=24,
                            sliding_window=6),
    "qwen2_moe": llama("Qwen2MoeConfig", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                       shared_expert_intermediate_size=24, decoder_sparse_step=2, num_hidden_layers=3),
    "qwen2_moe-normed": llama("Qwen2MoeConfig", num_experts=4, num_experts_per_tok=3, moe_intermediate_size=16,
                              shared_expert_intermediate_size=24, norm_topk_prob=True, qkv_bias=False,
                              mlp_only_layers=[0]),
    "qwen3_moe": llama("Qwen3MoeConfig", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=12,
                       norm_topk_prob=True, mlp_only_layers=[0]),
    "deepseek_v2": llama("DeepseekV2Config", num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=12,
                         qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, n_routed_experts=4, n_shared_experts=1,
                         num_experts_per_tok=2, moe_intermediate_size=16, first_k_dense_replace=1,
                         routed_scaling_factor=1.5),
    "deepseek_v2-groups": llama("DeepseekV2Config", num_key_value_heads=4, q_lora_rank=20, kv_lora_rank=12,
                                qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, n_routed_experts=6,
                                n_shared_experts=2, num_experts_per_tok=2, moe_intermediate_size=12,
                                first_k_dense_replace=0, topk_method="group_limited_greedy", n_group=3, topk_group=2,
                                rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16,
                                                     mscale=0.7, mscale_all_dim=0.9)),
    "deepseek_v3": llama("DeepseekV3Config", num_key_value_heads=4, q_lora_rank=20, kv_lora_rank=12,
                         qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, n_routed_experts=8, n_shared_experts=1,
                         num_experts_per_tok=3, moe_intermediate_size=12, first_k_dense_replace=1, n_group=4,
                         topk_group=2),
    "deepseek_v3-yarn": llama("DeepseekV3Config", num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=12,
                              qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4,
                              n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=12,
                              first_k_dense_replace=0, n_group=1, topk_group=1, norm_topk_prob=False,
                              rope_interleave=False, attention_bias=True,
                              rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16,
                                                   mscale=1.0, mscale_all_dim=1.0)),
    "gpt_oss": llama("GptOssConfig", head_dim=12, num_local_experts=4, num_experts_per_tok=2, intermediate_size=24,
                     sliding_window=6, layer_types=SLIDING,
                     rope_parameters=rope("yarn", 150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
                                          original_max_position_embeddings=16)),
    "llama4_text": llama("Llama4TextConfig", head_dim=12, intermediate_size=16, intermediate_size_mlp=24,
                         num_local_experts=4, num_experts_per_tok=2, interleave_moe_layer_step=2, num_hidden_layers=4,
                         attention_chunk_size=10, floor_scale=8, attn_scale=0.3, no_rope_layer_interval=3),
    "llama4_text-top1": llama("Llama4TextConfig", head_dim=8, intermediate_size=16, intermediate_size_mlp=24,
                              num_local_experts=4, num_experts_per_tok=1, interleave_moe_layer_step=1,
                              use_qk_norm=False, attn_temperature_tuning=False, attention_bias=True,
                              no_rope_layers=[1, 0], attention_chunk_size=7),
    "chameleon": chameleon(),
    "chameleon-swin": chameleon(swin_norm=True, num_key_value_heads=4, attention_bias=True, mlp_bias=True),
    "llava": wrapped("LlavaConfig", "LlavaForConditionalGeneration", dict(model_type="llama", **LLAMA), "clip_vision_model",
                     image_token_index=60),
    "llava-mistral": wrapped("LlavaConfig", "LlavaForConditionalGeneration",
                             dict(model_type="mistral", **LLAMA, sliding_window=6, tie_word_embeddings=True),
                             "clip_vision_model", image_token_index=60),
    "gemma3": wrapped("Gemma3Config", "Gemma3ForConditionalGeneration",
                      dict(model_type="gemma3_text", **LLAMA, head_dim=12, query_pre_attn_scalar=10, sliding_window=6,
                           layer_types=SLIDING), "siglip_vision_model", mm_tokens_per_image=4, image_token_index=60,
                      boi_token_index=61, eoi_token_index=62),
    "mamba": Case("MambaConfig", dict(vocab_size=64, hidden_size=32, state_size=4, num_hidden_layers=3, bos_token_id=1,
                                      eos_token_id=2, pad_token_id=0)),
    "mamba-bias": Case("MambaConfig", dict(
        vocab_size=64, hidden_size=24, state_size=6, num_hidden_layers=2, expand=3, conv_kernel=3, time_step_rank=5,
        use_bias=True, use_conv_bias=False, hidden_act="gelu", tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=2, pad_token_id=0)),
    "mamba2": Case("Mamba2Config", dict(
        vocab_size=64, hidden_size=32, state_size=8, num_hidden_layers=2, num_heads=8, head_dim=8, n_groups=2,
        chunk_size=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)),
    "mamba2-limit": Case("Mamba2Config", dict(
        vocab_size=64, hidden_size=24, state_size=6, num_hidden_layers=2, num_heads=4, head_dim=12, n_groups=1,
        chunk_size=8, use_bias=True, time_step_limit=[0.4, 1.2], tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2, pad_token_id=0)),
    "jamba": llama("JambaConfig", num_hidden_layers=4, attn_layer_period=3, attn_layer_offset=1, num_experts=4,
                   intermediate_size=24, mamba_d_state=4, use_mamba_kernels=False),
    "jamba-dense": llama("JambaConfig", num_hidden_layers=2, attn_layer_period=2, attn_layer_offset=0, num_experts=1,
                         mamba_d_state=6, mamba_d_conv=3, mamba_dt_rank=3, mamba_conv_bias=False, mamba_proj_bias=True,
                         tie_word_embeddings=True, use_mamba_kernels=False),
}


# Those of families whose other cases have no GGUF form: stored in tests/data/gguf_models.
GGUF_CASES = {
    "gemma2-capped": llama("Gemma2Config", head_dim=8, query_pre_attn_scalar=8, sliding_window=6,
                           attn_logit_softcapping=5.0, final_logit_softcapping=4.0),
    "gemma3_text-six": llama("Gemma3TextConfig", head_dim=8, query_pre_attn_scalar=8, sliding_window=6,
                             num_hidden_layers=6, layer_types=SLIDING[:1] * 5 + SLIDING[1:],
                             rope_parameters={"full_attention": rope("linear", 1e6, factor=8.0),
                                              "sliding_attention": rope()}),
    "qwen2_moe-every": llama("Qwen2MoeConfig", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                             shared_expert_intermediate_size=24),
    "qwen3_moe-every": llama("Qwen3MoeConfig", num_experts=12, num_experts_per_tok=2, moe_intermediate_size=16,
                             head_dim=12, norm_topk_prob=True),
    "cohere2-four": llama("Cohere2Config", logit_scale=0.5, sliding_window=6, num_hidden_layers=4,
                          layer_types=SLIDING[:1] * 3 + SLIDING[1:]),
}


def scale(name, parameter, noise, config):
    """Values that keep activations of order one: norms near 1, matrices by the square root of their inputs."""
    if "norm" in name or ".ln_" in name or "layernorm" in name:
        from_zero = name.endswith("bias") or config.model_type.startswith("gemma")  # whose norms multiply by 1 + w
        return (0 if from_zero else 1) + 0.2 * noise
    if "embed_in" in name or "embed_tokens" in name or ".wte" in name or "word_embeddings" in name:
        return 0.25 * noise if config.tie_word_embeddings else noise  # a head of norm 1 would say the last token again
    if parameter.dim() == 1:
        return 0.3 * noise
    return noise * 1.2 / min(parameter.shape[-2:]) ** 0.5


def random_model(case, seed):
    """The family's model in float32; every value is exact in case.dtype."""
    generator = torch.Generator().manual_seed(seed)
    config = getattr(transformers, case.config)(**case.options)
    make = getattr(transformers, case.model)._from_config if case.model else AutoModelForCausalLM.from_config
    model = make(config, attn_implementation=case.attention).float().eval()
    with torch.no_grad():
        entries = dict(model.named_parameters())
        entries.update((name, buffer) for name, buffer in model.named_buffers() if "correction_bias" in name)
        for name, parameter in entries.items():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(scale(name, parameter, noise, config).to(case.dtype).float())
    return model


def greedy(model, prompts, count):
    """Each step a full pass of the growing text: ids [batch, count], and how far the best logit stood above the next."""
    ids, gaps = prompts, []
    for _ in range(count):
        logits = model(ids, use_cache=False).logits[:, -1]
        best = logits.topk(2).values
        gaps.append(best[:, 0] - best[:, 1])
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids[:, prompts.shape[1]:].contiguous(), torch.stack(gaps, 1).contiguous()


def answers(model, seed):
    """What the tests compare: ids, logits, the greedy text of the first PROMPT tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.get_text_config().vocab_size, (2, TOKENS), generator=generator)
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
        continuation, gap = greedy(model, ids[:, :PROMPT], GREEDY)
    return {"ids": ids, "logits": logits.float().contiguous(), "prompt_tokens": torch.tensor([PROMPT]),
            "greedy": continuation, "gap": gap}
