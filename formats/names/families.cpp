// The families that have both a GGUF and a transformers form.
//
// Decoders whose ggml RoPE type is NORM are stored with permuted query and key rows, unless the
// family turns pairs in transformers, too (Cohere); those of type NEOX are not.

#include "formats/names/name_map.h"

namespace lancet {
namespace {

using Kind = ExtraKey::Kind;
using Order = RowOrder;
using Words = std::string_view;

constexpr std::array kEnds = {NameRule{"token_embd", "model.embed_tokens"},
                              NameRule{"output_norm", "model.norm"}, NameRule{"output", "lm_head"}};
constexpr std::array kAttention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"},
    NameRule{"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"}};
constexpr std::array kTurnedAttention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", Order::kQueryHeads},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", Order::kKeyHeads},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"}};
constexpr std::array kNormsBefore = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"}};
constexpr std::array kGatedMlp = {NameRule{"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
                                  NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
                                  NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};

constexpr std::array kMixtralMlp = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.block_sparse_moe.gate"},
    NameRule{"blk.{}.ffn_gate_exps", "model.layers.{}.block_sparse_moe.experts.{}.w1"},
    NameRule{"blk.{}.ffn_up_exps", "model.layers.{}.block_sparse_moe.experts.{}.w3"},
    NameRule{"blk.{}.ffn_down_exps", "model.layers.{}.block_sparse_moe.experts.{}.w2"}};
constexpr std::array kQwenExperts = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"},
    NameRule{"blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.{}.gate_proj"},
    NameRule{"blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.{}.up_proj"},
    NameRule{"blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.{}.down_proj"},
    NameRule{"blk.{}.ffn_gate_inp_shexp", "model.layers.{}.mlp.shared_expert_gate", Order::kSame,
             ValueMap::kSame, HfShape::kRow},
    NameRule{"blk.{}.ffn_gate_shexp", "model.layers.{}.mlp.shared_expert.gate_proj"},
    NameRule{"blk.{}.ffn_up_shexp", "model.layers.{}.mlp.shared_expert.up_proj"},
    NameRule{"blk.{}.ffn_down_shexp", "model.layers.{}.mlp.shared_expert.down_proj"}};

constexpr std::array kGemmaEnds = {
    NameRule{"token_embd", "model.embed_tokens"},
    NameRule{"output_norm", "model.norm", Order::kSame, ValueMap::kPlusOne},
    NameRule{"output", "lm_head"}};
constexpr std::array kGemmaNorms = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm", Order::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", Order::kSame,
             ValueMap::kPlusOne}};
constexpr std::array kGemma2Norms = {
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm", Order::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm", Order::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm", Order::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm", Order::kSame,
             ValueMap::kPlusOne}};
constexpr std::array kGemma3Attention = {
    NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", Order::kSame,
             ValueMap::kPlusOne},
    NameRule{"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", Order::kSame,
             ValueMap::kPlusOne}};

constexpr std::array kPhi3Layer = {
    NameRule{"blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj"},
    NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj"},
    NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};
constexpr std::array kPhiRules = {NameRule{"token_embd", "model.embed_tokens"},
                                  NameRule{"output_norm", "model.final_layernorm"},
                                  NameRule{"output", "lm_head"},
                                  NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
                                  NameRule{"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
                                  NameRule{"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
                                  NameRule{"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
                                  NameRule{"blk.{}.attn_output", "model.layers.{}.self_attn.dense"},
                                  NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.fc1"},
                                  NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.fc2"}};
constexpr std::array kPlainMlp = {NameRule{"blk.{}.ffn_up", "model.layers.{}.mlp.c_fc"},
                                  NameRule{"blk.{}.ffn_down", "model.layers.{}.mlp.c_proj"}};
constexpr std::array kNormsBehind = {
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm"}};

constexpr std::array kGpt2Rules = {
    NameRule{"token_embd", "transformer.wte"},
    NameRule{"position_embd", "transformer.wpe"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.ln_1"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", Order::kTransposed},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.attn.c_proj", Order::kTransposed},
    NameRule{"blk.{}.ffn_norm", "transformer.h.{}.ln_2"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", Order::kTransposed},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", Order::kTransposed}};
// A second norm is attention's own (40B): the first is the MLP's then.
constexpr std::array kFalconRules = {
    NameRule{"token_embd", "transformer.word_embeddings"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.ln_mlp", Order::kSame, ValueMap::kSame,
             HfShape::kSame, "blk.0.attn_norm_2.weight"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.input_layernorm"},
    NameRule{"blk.{}.attn_norm_2", "transformer.h.{}.ln_attn"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value",
             Order::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.self_attention.dense"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"}};

constexpr std::array kNeoxRules = {
    NameRule{"token_embd", "gpt_neox.embed_in"},
    NameRule{"output_norm", "gpt_neox.final_layer_norm"},
    NameRule{"output", "embed_out"},
    NameRule{"blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm"},
    NameRule{"blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value", Order::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense"},
    NameRule{"blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"}};

constexpr std::array kBloomRules = {
    NameRule{"token_embd", "transformer.word_embeddings"},
    NameRule{"token_embd_norm", "transformer.word_embeddings_layernorm"},
    NameRule{"output_norm", "transformer.ln_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "transformer.h.{}.input_layernorm"},
    NameRule{"blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value",
             Order::kGroupedQkv},
    NameRule{"blk.{}.attn_output", "transformer.h.{}.self_attention.dense"},
    NameRule{"blk.{}.ffn_norm", "transformer.h.{}.post_attention_layernorm"},
    NameRule{"blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"},
    NameRule{"blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"}};

constexpr std::array kMambaRules = {
    NameRule{"token_embd", "backbone.embeddings"},
    NameRule{"output_norm", "backbone.norm_f"},
    NameRule{"output", "lm_head"},
    NameRule{"blk.{}.attn_norm", "backbone.layers.{}.norm"},
    NameRule{"blk.{}.ssm_in", "backbone.layers.{}.mixer.in_proj"},
    NameRule{"blk.{}.ssm_conv1d", "backbone.layers.{}.mixer.conv1d", Order::kSame, ValueMap::kSame,
             HfShape::kChannels},
    NameRule{"blk.{}.ssm_x", "backbone.layers.{}.mixer.x_proj"},
    NameRule{"blk.{}.ssm_dt", "backbone.layers.{}.mixer.dt_proj"},
    NameRule{.gguf = "blk.{}.ssm_a",
             .hf = "backbone.layers.{}.mixer.A_log",
             .values = ValueMap::kMinusExp,
             .bare = true},
    NameRule{.gguf = "blk.{}.ssm_d", .hf = "backbone.layers.{}.mixer.D", .bare = true},
    NameRule{"blk.{}.ssm_out", "backbone.layers.{}.mixer.out_proj"}};

constexpr std::array kGptOssLayer = {
    NameRule{
        .gguf = "blk.{}.attn_sinks.weight", .hf = "model.layers.{}.self_attn.sinks", .bare = true},
    NameRule{"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    NameRule{"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm"}};
constexpr std::array kGptOssExperts = {
    NameRule{"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.router"},
    NameRule{.gguf = "blk.{}.ffn_gate_exps.weight",
             .hf = "model.layers.{}.mlp.experts.gate_up_proj",
             .rows = Order::kGateUp,
             .bare = true,
             .second = "blk.{}.ffn_up_exps.weight"},
    NameRule{.gguf = "blk.{}.ffn_gate_exps.bias",
             .hf = "model.layers.{}.mlp.experts.gate_up_proj_bias",
             .rows = Order::kGateUp,
             .bare = true,
             .second = "blk.{}.ffn_up_exps.bias"},
    NameRule{.gguf = "blk.{}.ffn_down_exps.weight",
             .hf = "model.layers.{}.mlp.experts.down_proj",
             .rows = Order::kExperts,
             .bare = true},
    NameRule{.gguf = "blk.{}.ffn_down_exps.bias",
             .hf = "model.layers.{}.mlp.experts.down_proj_bias",
             .bare = true}};

constexpr std::array<Words, 2> kLlamaTypes = {"llama", "mistral"};
constexpr std::array<Words, 1> kMixtralTypes = {"mixtral"}, kQwen2Types = {"qwen2"},
                               kQwen3Types = {"qwen3"}, kQwen2MoeTypes = {"qwen2_moe"},
                               kQwen3MoeTypes = {"qwen3_moe"}, kGemmaTypes = {"gemma"},
                               kGemma2Types = {"gemma2"}, kGemma3Types = {"gemma3_text"},
                               kPhi3Types = {"phi3"}, kPhiTypes = {"phi"},
                               kStarcoder2Types = {"starcoder2"}, kGpt2Types = {"gpt2"},
                               kFalconTypes = {"falcon"}, kNeoxTypes = {"gpt_neox"},
                               kOlmo2Types = {"olmo2"}, kCohereTypes = {"cohere"},
                               kCohere2Types = {"cohere2"}, kStablelmTypes = {"stablelm"},
                               kGraniteTypes = {"granite"}, kBloomTypes = {"bloom"},
                               kMambaTypes = {"mamba"}, kGptOssTypes = {"gpt_oss"};

constexpr std::array<Words, 1> kSilu = {"silu"};
// ggml's GELU is the one by tanh, looked up in half precision: the exact one is as near as it gets.
constexpr std::array<Words, 4> kGeluTanh = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu"};
constexpr std::array<Words, 4> kGeluNew = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu"};
constexpr std::array<Words, 4> kGelu = {"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"};

constexpr std::array kMixtralKeys = {ExtraKey{"expert_count", "num_local_experts"},
                                     ExtraKey{"expert_used_count", "num_experts_per_tok"}};
constexpr std::array kQwen2MoeKeys = {
    ExtraKey{"expert_count", "num_experts"}, ExtraKey{"expert_used_count", "num_experts_per_tok"},
    ExtraKey{"expert_feed_forward_length", "moe_intermediate_size"},
    ExtraKey{"expert_shared_feed_forward_length", "shared_expert_intermediate_size"}};
constexpr std::array kQwen3MoeKeys = {
    ExtraKey{"expert_count", "num_experts"}, ExtraKey{"expert_used_count", "num_experts_per_tok"},
    ExtraKey{"expert_feed_forward_length", "moe_intermediate_size"}};
constexpr std::array kGemma2Keys = {
    ExtraKey{"attn_logit_softcapping", "attn_logit_softcapping", Kind::kNumber},
    ExtraKey{"final_logit_softcapping", "final_logit_softcapping", Kind::kNumber},
    ExtraKey{"attention.sliding_window", "sliding_window"}};
constexpr std::array kWindowKeys = {ExtraKey{"attention.sliding_window", "sliding_window"}};
constexpr std::array kPhi3Keys = {
    ExtraKey{"attention.sliding_window", "sliding_window", Kind::kInteger, false},
    ExtraKey{"rope.scaling.original_context_length", "original_max_position_embeddings",
             Kind::kInteger, false}};
constexpr std::array kStarcoder2Keys = {
    ExtraKey{"attention.sliding_window", "sliding_window", Kind::kInteger, false}};
constexpr std::array kResidualKeys = {
    ExtraKey{"use_parallel_residual", "use_parallel_residual", Kind::kFlag}};
constexpr std::array kCohereKeys = {ExtraKey{"logit_scale", "logit_scale", Kind::kNumber}};
constexpr std::array kCohere2Keys = {ExtraKey{"logit_scale", "logit_scale", Kind::kNumber},
                                     ExtraKey{"attention.sliding_window", "sliding_window"}};
constexpr std::array kGraniteKeys = {
    ExtraKey{"attention.scale", "attention_multiplier", Kind::kNumber},
    ExtraKey{"embedding_scale", "embedding_multiplier", Kind::kNumber},
    ExtraKey{"residual_scale", "residual_multiplier", Kind::kNumber},
    ExtraKey{"logit_scale", "logits_scaling", Kind::kNumber}};
constexpr std::array kGptOssKeys = {ExtraKey{"attention.sliding_window", "sliding_window"},
                                    ExtraKey{"expert_count", "num_local_experts"},
                                    ExtraKey{"expert_used_count", "num_experts_per_tok"},
                                    ExtraKey{"expert_feed_forward_length", "intermediate_size"}};

constexpr std::array kMambaKeys = {
    ExtraKey{"ssm.conv_kernel", "conv_kernel"}, ExtraKey{"ssm.inner_size", "intermediate_size"},
    ExtraKey{"ssm.state_size", "state_size"}, ExtraKey{"ssm.time_step_rank", "time_step_rank"}};

constexpr ConfigKeys kLayerNormKeys{.eps = "layer_norm_eps"};
constexpr ConfigKeys kGpt2Keys{.layers = "n_layer",
                               .width = "n_embd",
                               .heads = "n_head",
                               .kv_heads = "",
                               .d_ff = "n_inner",
                               .context = "n_positions",
                               .eps = "layer_norm_epsilon",
                               .activation = "activation_function"};

constexpr std::array kFamilies = {
    NameFamily{.gguf_architecture = "llama",
               .hf_types = kLlamaTypes,
               .hf_class = "LlamaForCausalLM",
               .rules = {kEnds, kTurnedAttention, kNormsBefore, kGatedMlp},
               .activations = kSilu},
    NameFamily{.gguf_architecture = "llama",
               .hf_types = kMixtralTypes,
               .hf_class = "MixtralForCausalLM",
               .rules = {kEnds, kTurnedAttention, kNormsBefore, kMixtralMlp},
               .activations = kSilu,
               .extra = kMixtralKeys},
    NameFamily{.gguf_architecture = "qwen2",
               .hf_types = kQwen2Types,
               .hf_class = "Qwen2ForCausalLM",
               .attention_bias = true,
               .rules = {kEnds, kAttention, kNormsBefore, kGatedMlp},
               .activations = kSilu},
    NameFamily{.gguf_architecture = "qwen3",
               .hf_types = kQwen3Types,
               .hf_class = "Qwen3ForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kGatedMlp},
               .activations = kSilu},
    NameFamily{.gguf_architecture = "qwen2moe",
               .hf_types = kQwen2MoeTypes,
               .hf_class = "Qwen2MoeForCausalLM",
               .attention_bias = true,
               .rules = {kEnds, kAttention, kNormsBefore, kQwenExperts},
               .activations = kSilu,
               .extra = kQwen2MoeKeys,
               .fixed = R"({"norm_topk_prob": false, "decoder_sparse_step": 1,
                            "mlp_only_layers": [], "qkv_bias": true})"},
    NameFamily{.gguf_architecture = "qwen3moe",
               .hf_types = kQwen3MoeTypes,
               .hf_class = "Qwen3MoeForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kQwenExperts},
               .activations = kSilu,
               .extra = kQwen3MoeKeys,
               .fixed = R"({"norm_topk_prob": true, "decoder_sparse_step": 1,
                            "mlp_only_layers": []})"},
    NameFamily{.gguf_architecture = "gemma",
               .hf_types = kGemmaTypes,
               .hf_class = "GemmaForCausalLM",
               .rules = {kGemmaEnds, kAttention, kGemmaNorms, kGatedMlp},
               .tied = true,
               .activations = kGeluTanh,
               .fixed = R"({"use_bidirectional_attention": null})"},
    NameFamily{.gguf_architecture = "gemma2",
               .hf_types = kGemma2Types,
               .hf_class = "Gemma2ForCausalLM",
               .rules = {kGemmaEnds, kAttention, kGemma2Norms, kGatedMlp},
               .keys = {.activation = "hidden_activation"},
               .tied = true,
               .activations = kGeluTanh,
               .extra = kGemma2Keys,
               .fixed = R"({"use_bidirectional_attention": null})"},
    NameFamily{.gguf_architecture = "gemma3",
               .hf_types = kGemma3Types,
               .hf_class = "Gemma3ForCausalLM",
               .rules = {kGemmaEnds, kGemma3Attention, kGemma2Norms, kGatedMlp},
               .keys = {.activation = "hidden_activation"},
               .tied = true,
               .activations = kGeluTanh,
               .extra = kWindowKeys,
               .fixed = R"({"use_bidirectional_attention": false,
                            "attn_logit_softcapping": null, "final_logit_softcapping": null})"},
    NameFamily{.gguf_architecture = "phi3",
               .hf_types = kPhi3Types,
               .hf_class = "Phi3ForCausalLM",
               .rules = {kEnds, kPhi3Layer, kNormsBefore},
               .activations = kSilu,
               .extra = kPhi3Keys},
    NameFamily{.gguf_architecture = "phi2",
               .hf_types = kPhiTypes,
               .hf_class = "PhiForCausalLM",
               .rules = {kPhiRules},
               .keys = kLayerNormKeys,
               .layer_norm = true,
               .partial = 0.5,
               .activations = kGeluNew,
               .fixed = R"({"qk_layernorm": false})"},
    NameFamily{.gguf_architecture = "starcoder2",
               .hf_types = kStarcoder2Types,
               .hf_class = "Starcoder2ForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kPlainMlp},
               .keys = {.eps = "norm_epsilon"},
               .layer_norm = true,
               .tied = true,
               .activations = kGeluTanh,
               .extra = kStarcoder2Keys},
    NameFamily{.gguf_architecture = "gpt2",
               .hf_types = kGpt2Types,
               .hf_class = "GPT2LMHeadModel",
               .rules = {kGpt2Rules},
               .keys = kGpt2Keys,
               .layer_norm = true,
               .tied = true,
               .rope = false,
               .activations = kGeluNew,
               .fixed = R"({"scale_attn_weights": true,
                            "scale_attn_by_inverse_layer_idx": false,
                            "add_cross_attention": false})"},
    NameFamily{.gguf_architecture = "falcon",
               .hf_types = kFalconTypes,
               .hf_class = "FalconForCausalLM",
               .rules = {kFalconRules},
               .keys = {.kv_heads = "num_kv_heads",
                        .d_ff = "ffn_hidden_size",
                        .eps = "layer_norm_epsilon",
                        .activation = "activation"},
               .layer_norm = true,
               .tied = true,
               .activations = kGelu,
               .fixed = R"({"alibi": false, "parallel_attn": true})"},
    NameFamily{.gguf_architecture = "gptneox",
               .hf_types = kNeoxTypes,
               .hf_class = "GPTNeoXForCausalLM",
               .rules = {kNeoxRules},
               .keys = {.kv_heads = "", .eps = "layer_norm_eps"},
               .layer_norm = true,
               .partial = 0.25,
               .activations = kGelu,
               .extra = kResidualKeys},
    NameFamily{.gguf_architecture = "olmo2",
               .hf_types = kOlmo2Types,
               .hf_class = "Olmo2ForCausalLM",
               .rules = {kEnds, kAttention, kNormsBehind, kGatedMlp},
               .activations = kSilu},
    NameFamily{.gguf_architecture = "command-r",
               .hf_types = kCohereTypes,
               .hf_class = "CohereForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kGatedMlp},
               .keys = kLayerNormKeys,
               .layer_norm = true,
               .tied = true,
               .activations = kSilu,
               .extra = kCohereKeys},
    NameFamily{.gguf_architecture = "cohere2",
               .hf_types = kCohere2Types,
               .hf_class = "Cohere2ForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kGatedMlp},
               .keys = kLayerNormKeys,
               .layer_norm = true,
               .tied = true,
               .activations = kSilu,
               .extra = kCohere2Keys},
    NameFamily{.gguf_architecture = "stablelm",
               .hf_types = kStablelmTypes,
               .hf_class = "StableLmForCausalLM",
               .rules = {kEnds, kAttention, kNormsBefore, kGatedMlp},
               .keys = kLayerNormKeys,
               .layer_norm = true,
               .partial = 0.25,
               .activations = kSilu,
               .extra = kResidualKeys,
               .fixed = R"({"qk_layernorm": false})"},
    NameFamily{.gguf_architecture = "granite",
               .hf_types = kGraniteTypes,
               .hf_class = "GraniteForCausalLM",
               .rules = {kEnds, kTurnedAttention, kNormsBefore, kGatedMlp},
               .activations = kSilu,
               .extra = kGraniteKeys},
    NameFamily{.gguf_architecture = "bloom",
               .hf_types = kBloomTypes,
               .hf_class = "BloomForCausalLM",
               .rules = {kBloomRules},
               .keys = {.layers = "n_layer",
                        .heads = "n_head",
                        .kv_heads = "",
                        .d_ff = "",
                        .context = "seq_length",
                        .eps = "layer_norm_epsilon",
                        .activation = ""},
               .layer_norm = true,
               .tied = true,
               .rope = false,
               .activations = kGeluTanh,
               .fixed = R"({"apply_residual_connection_post_layernorm": false})"},
    NameFamily{
        .gguf_architecture = "mamba",
        .hf_types = kMambaTypes,
        .hf_class = "MambaForCausalLM",
        .rules = {kMambaRules},
        .keys =
            {.heads = "", .kv_heads = "", .d_ff = "", .context = "", .eps = "layer_norm_epsilon"},
        .tied = true,
        .rope = false,
        .attention = false,
        .activations = kSilu,
        .extra = kMambaKeys,
        .fixed = R"({"expand": 2, "use_bias": false, "use_conv_bias": true})"},
    NameFamily{.gguf_architecture = "gpt-oss",
               .hf_types = kGptOssTypes,
               .hf_class = "GptOssForCausalLM",
               .attention_bias = true,
               .rules = {kEnds, kAttention, kGptOssLayer, kGptOssExperts},
               .activations = kSilu,
               .extra = kGptOssKeys,
               .fixed = R"({"attention_bias": true, "swiglu_limit": 7.0})"}};

}  // namespace

std::span<const NameFamily> name_families() noexcept { return kFamilies; }

}  // namespace lancet
