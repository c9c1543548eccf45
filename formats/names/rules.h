#pragma once
// Names of the families in families.cpp, which alone includes this.
//
// Decoders whose ggml RoPE type is NORM are stored with permuted query and key rows, unless the
// family turns pairs in transformers, too (Cohere, DeepSeek); those of type NEOX are not.

#include "formats/names/name_map.h"

namespace lancet {

inline constexpr std::array kEnds = {NameRule{"token_embd", "model.embed_tokens"},
                                     NameRule{"output_norm", "model.norm"},
                                     NameRule{"output", "lm_head"}};
inline constexpr std::array kAttention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"},
    NameRule{"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"}};
inline constexpr std::array kTurnedAttention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", RowOrder::kQueryHeads},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", RowOrder::kKeyHeads},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"}};
inline constexpr std::array kNormsBefore = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"}};
inline constexpr std::array kGatedMlp = {
    NameRule{"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};

inline constexpr std::array kMixtralMlp = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.block_sparse_moe.gate"},
    NameRule{"blk.{}.ffn_gate_exps", "model.layers.{}.block_sparse_moe.experts.{}.w1"},
    NameRule{"blk.{}.ffn_up_exps", "model.layers.{}.block_sparse_moe.experts.{}.w3"},
    NameRule{"blk.{}.ffn_down_exps", "model.layers.{}.block_sparse_moe.experts.{}.w2"}};
inline constexpr std::array kQwenExperts = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"},
    NameRule{"blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.{}.gate_proj"},
    NameRule{"blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.{}.up_proj"},
    NameRule{"blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.{}.down_proj"},
    NameRule{"blk.{}.ffn_gate_inp_shexp", "model.layers.{}.mlp.shared_expert_gate", RowOrder::kSame,
             ValueMap::kSame, HfShape::kRow},
    NameRule{"blk.{}.ffn_gate_shexp", "model.layers.{}.mlp.shared_expert.gate_proj"},
    NameRule{"blk.{}.ffn_up_shexp", "model.layers.{}.mlp.shared_expert.up_proj"},
    NameRule{"blk.{}.ffn_down_shexp", "model.layers.{}.mlp.shared_expert.down_proj"}};

inline constexpr std::array kGemmaEnds = {
    NameRule{"token_embd", "model.embed_tokens"},
    NameRule{"output_norm", "model.norm", RowOrder::kSame, ValueMap::kPlusOne},
    NameRule{"output", "lm_head"}};
inline constexpr std::array kGemmaNorms = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm", RowOrder::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", RowOrder::kSame,
             ValueMap::kPlusOne}};
inline constexpr std::array kGemma2Norms = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm", RowOrder::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm",
             RowOrder::kSame, ValueMap::kPlusOne},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm", RowOrder::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm", RowOrder::kSame,
             ValueMap::kPlusOne}};
inline constexpr std::array kGemma3Attention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", RowOrder::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", RowOrder::kSame,
             ValueMap::kPlusOne}};

inline constexpr std::array kPhi3Layer = {
    NameRule{"blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};
inline constexpr std::array kPhiRules = {
    NameRule{"token_embd", "model.embed_tokens"},
    NameRule{"output_norm", "model.final_layernorm"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.dense"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.fc1"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.fc2"}};
inline constexpr std::array kPlainMlp = {NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.c_fc"},
                                         NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.c_proj"}};
inline constexpr std::array kNormsBehind = {
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm"}};

inline constexpr std::array kGpt2Rules = {
    NameRule{"token_embd", "transformer.wte"},
    NameRule{"position_embd", "transformer.wpe"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.ln_1"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", RowOrder::kTransposed},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.attn.c_proj", RowOrder::kTransposed},
    NameRule{"blk.{}.ffn_norm", "transformer.h.{}.ln_2"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", RowOrder::kTransposed},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", RowOrder::kTransposed}};
// A second norm is attention's own (40B): the first is the MLP's then.
inline constexpr std::array kFalconRules = {
    NameRule{"token_embd", "transformer.word_embeddings"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.ln_mlp", RowOrder::kSame, ValueMap::kSame,
             HfShape::kSame, "blk.0.attn_norm_2.weight"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.input_layernorm"},
    NameRule{"blk.{}.attn_norm_2", "transformer.h.{}.ln_attn"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value",
             RowOrder::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.self_attention.dense"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"}};

inline constexpr std::array kNeoxRules = {
    NameRule{"token_embd", "gpt_neox.embed_in"},
    NameRule{"output_norm", "gpt_neox.final_layer_norm"},
    NameRule{"output", "embed_out"},
    NameRule{"blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm"},
    NameRule{"blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value",
             RowOrder::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense"},
    NameRule{"blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"}};

inline constexpr std::array kBloomRules = {
    NameRule{"token_embd", "transformer.word_embeddings"},
    NameRule{"token_embd_norm", "transformer.word_embeddings_layernorm"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.input_layernorm"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value",
             RowOrder::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.self_attention.dense"},
    NameRule{"blk.{}.ffn_norm", "transformer.h.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"}};

inline constexpr std::array kMambaRules = {
    NameRule{"token_embd", "backbone.embeddings"},
    NameRule{"output_norm", "backbone.norm_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "backbone.layers.{}.norm"},
    NameRule{"blk.{}.ssm_in", "backbone.layers.{}.mixer.in_proj"},
    NameRule{"blk.{}.ssm_conv1d", "backbone.layers.{}.mixer.conv1d", RowOrder::kSame,
             ValueMap::kSame, HfShape::kChannels},
    NameRule{"blk.{}.ssm_x", "backbone.layers.{}.mixer.x_proj"},
    NameRule{"blk.{}.ssm_dt", "backbone.layers.{}.mixer.dt_proj"},
    NameRule{.gguf = "blk.{}.ssm_a",
             .hf = "backbone.layers.{}.mixer.A_log",
             .values = ValueMap::kMinusExp,
             .bare = true},
    NameRule{.gguf = "blk.{}.ssm_d", .hf = "backbone.layers.{}.mixer.D", .bare = true},
    NameRule{"blk.{}.ssm_out", "backbone.layers.{}.mixer.out_proj"}};

inline constexpr std::array kGptOssLayer = {
    NameRule{
        .gguf = "blk.{}.attn_sinks.weight", .hf = "model.layers.{}.self_attn.sinks", .bare = true},
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"}};
inline constexpr std::array kGptOssExperts = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.router"},
    NameRule{.gguf = "blk.{}.ffn_gate_exps.weight",
             .hf = "model.layers.{}.mlp.experts.gate_up_proj",
             .rows = RowOrder::kGateUp,
             .bare = true,
             .second = "blk.{}.ffn_up_exps.weight"},
    NameRule{.gguf = "blk.{}.ffn_gate_exps.bias",
             .hf = "model.layers.{}.mlp.experts.gate_up_proj_bias",
             .rows = RowOrder::kGateUp,
             .bare = true,
             .second = "blk.{}.ffn_up_exps.bias"},
    NameRule{.gguf = "blk.{}.ffn_down_exps.weight",
             .hf = "model.layers.{}.mlp.experts.down_proj",
             .rows = RowOrder::kExperts,
             .bare = true},
    NameRule{.gguf = "blk.{}.ffn_down_exps.bias",
             .hf = "model.layers.{}.mlp.experts.down_proj_bias",
             .bare = true}};

inline constexpr std::array kLatentAttention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_q_a", "model.layers.{}.self_attn.q_a_proj"},
    NameRule{"blk.{}.attn_q_a_norm", "model.layers.{}.self_attn.q_a_layernorm"},
    NameRule{"blk.{}.attn_q_b", "model.layers.{}.self_attn.q_b_proj"},
    NameRule{"blk.{}.attn_kv_a_mqa", "model.layers.{}.self_attn.kv_a_proj_with_mqa"},
    NameRule{"blk.{}.attn_kv_a_norm", "model.layers.{}.self_attn.kv_a_layernorm"},
    NameRule{.gguf = "blk.{}.attn_k_b.weight",
             .hf = "model.layers.{}.self_attn.kv_b_proj.weight",
             .rows = RowOrder::kLatentKv,
             .bare = true,
             .second = "blk.{}.attn_v_b.weight"},
    NameRule{.gguf = "blk.{}.attn_kv_b", .hf = "model.layers.{}.self_attn.kv_b_proj", .old = true},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"}};
inline constexpr std::array kDeepSeekMlp = {
    NameRule{"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"},
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"},
    NameRule{.gguf = "blk.{}.exp_probs_b.bias",
             .hf = "model.layers.{}.mlp.gate.e_score_correction_bias",
             .bare = true},
    NameRule{"blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.{}.gate_proj"},
    NameRule{"blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.{}.up_proj"},
    NameRule{"blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.{}.down_proj"},
    NameRule{"blk.{}.ffn_gate_shexp", "model.layers.{}.mlp.shared_experts.gate_proj"},
    NameRule{"blk.{}.ffn_up_shexp", "model.layers.{}.mlp.shared_experts.up_proj"},
    NameRule{"blk.{}.ffn_down_shexp", "model.layers.{}.mlp.shared_experts.down_proj"}};

}  // namespace lancet
