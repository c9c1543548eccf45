#include "merge/moe_family.h"

#include <algorithm>

namespace lancet {
namespace {

constexpr std::string_view kLlama[] = {"llama", "mistral"};
constexpr std::string_view kLlamaAlone[] = {"llama"};
constexpr std::string_view kQwen2[] = {"qwen2"};
constexpr std::string_view kQwen3[] = {"qwen3"};

constexpr MoeFamily kFamilies[] = {
    {.name = "mixtral",
     .architecture = "MixtralForCausalLM",
     .bases = kLlama,
     .gate = "block_sparse_moe.experts.{}.w1.weight",
     .up = "block_sparse_moe.experts.{}.w3.weight",
     .down = "block_sparse_moe.experts.{}.w2.weight",
     .router = "block_sparse_moe.gate.weight",
     .count_key = "num_local_experts"},
    {.name = "deepseek",
     .architecture = "DeepseekForCausalLM",
     .bases = kLlamaAlone,
     .gate = "mlp.experts.{}.gate_proj.weight",
     .up = "mlp.experts.{}.up_proj.weight",
     .down = "mlp.experts.{}.down_proj.weight",
     .router = "mlp.gate.weight",
     .shared_gate = "mlp.shared_experts.gate_proj.weight",
     .shared_up = "mlp.shared_experts.up_proj.weight",
     .shared_down = "mlp.shared_experts.down_proj.weight",
     .count_key = "n_routed_experts",
     .own_sizes = true,
     .shared_optional = true},
    {.name = "qwen2_moe",
     .architecture = "Qwen2MoeForCausalLM",
     .bases = kQwen2,
     .gate = "mlp.experts.{}.gate_proj.weight",
     .up = "mlp.experts.{}.up_proj.weight",
     .down = "mlp.experts.{}.down_proj.weight",
     .router = "mlp.gate.weight",
     .shared_gate = "mlp.shared_expert.gate_proj.weight",
     .shared_up = "mlp.shared_expert.up_proj.weight",
     .shared_down = "mlp.shared_expert.down_proj.weight",
     .shared_router = "mlp.shared_expert_gate.weight",
     .count_key = "num_experts",
     .own_sizes = true},
    {.name = "qwen3_moe",
     .architecture = "Qwen3MoeForCausalLM",
     .bases = kQwen3,
     .gate = "mlp.experts.{}.gate_proj.weight",
     .up = "mlp.experts.{}.up_proj.weight",
     .down = "mlp.experts.{}.down_proj.weight",
     .router = "mlp.gate.weight",
     .count_key = "num_experts",
     .own_sizes = true},
};

/// The first DeepSeek-MoE, whose code is not part of transformers: it is named.
void add_deepseek_keys(Json& config, std::size_t shared) {
  config["n_shared_experts"] = shared == 0 ? Json() : Json(shared);
  config["first_k_dense_replace"] = 0;
  config["moe_layer_freq"] = 1;
  config["scoring_func"] = "softmax";
  config["aux_loss_alpha"] = 0.001;
  config["seq_aux"] = true;
  const std::string code = "deepseek-ai/deepseek-moe-16b-base--";
  config["auto_map"] = {{"AutoConfig", code + "configuration_deepseek.DeepseekConfig"},
                        {"AutoModel", code + "modeling_deepseek.DeepseekModel"},
                        {"AutoModelForCausalLM", code + "modeling_deepseek.DeepseekForCausalLM"}};
}

}  // namespace

std::span<const MoeFamily> moe_families() { return kFamilies; }

const MoeFamily* find_moe_family(std::string_view name) noexcept {
  const auto* const found = std::ranges::find(kFamilies, name, &MoeFamily::name);
  return found == std::end(kFamilies) ? nullptr : found;
}

const MoeFamily* moe_family_of(std::string_view model_type) noexcept {
  for (const MoeFamily& family : kFamilies) {
    if (std::ranges::find(family.bases, model_type) != family.bases.end()) return &family;
  }
  return nullptr;
}

Json moe_config(const MoeFamily& family, const Json& dense, std::size_t experts, std::size_t shared,
                std::int64_t experts_per_token) {
  Json config = dense;
  for (const char* gone : {"mlp_bias", "pretraining_tp", "attention_bias"}) config.erase(gone);
  config["architectures"] = Json::array({family.architecture});
  config["model_type"] = family.name;
  config[std::string(family.count_key)] = experts;
  config["num_experts_per_tok"] = experts_per_token;
  config["output_router_logits"] = false;
  config["router_aux_loss_coef"] = 0.001;
  if (!family.own_sizes) {
    if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
    return config;
  }
  config["moe_intermediate_size"] = dense.at("intermediate_size");
  config["norm_topk_prob"] = true;  // equal experts are then the dense model
  if (family.shared_optional) {
    add_deepseek_keys(config, shared);
    return config;
  }
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  if (!family.shared_gate.empty())
    config["shared_expert_intermediate_size"] = dense.at("intermediate_size");
  return config;
}

}  // namespace lancet
