#pragma once
// A random Llama of three layers on disk, for surgery tests: d_model 32, 4 heads and 2 key heads of
// 8, d_ff 48, a tokenizer of twenty pieces. Values are drawn from a seed, scaled as trained weights
// are. With experts it is a Mixtral: four of d_ff 24 in every layer, two chosen for a token.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "formats/model_writer.h"
#include "formats/quant/decode.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet::tiny_edit {

inline constexpr std::int64_t kModel = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kFf = 48,
                              kVocab = 20, kLayers = 3, kExperts = 4, kChosen = 2, kExpertFf = 24;

using Weights = std::map<std::string, std::vector<float>>;

inline std::map<std::string, std::vector<std::int64_t>> shapes(bool experts = false) {
  std::map<std::string, std::vector<std::int64_t>> out{
      {"model.embed_tokens.weight", {kVocab, kModel}},
      {"model.norm.weight", {kModel}},
      {"lm_head.weight", {kVocab, kModel}}};
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    out[at + "input_layernorm.weight"] = {kModel};
    out[at + "post_attention_layernorm.weight"] = {kModel};
    out[at + "self_attn.q_proj.weight"] = {kHeads * kHeadDim, kModel};
    out[at + "self_attn.k_proj.weight"] = {kKvHeads * kHeadDim, kModel};
    out[at + "self_attn.v_proj.weight"] = {kKvHeads * kHeadDim, kModel};
    out[at + "self_attn.o_proj.weight"] = {kModel, kHeads * kHeadDim};
    if (experts) {
      out[at + "block_sparse_moe.gate.weight"] = {kExperts, kModel};
      for (int e = 0; e < kExperts; ++e) {
        const std::string expert = at + "block_sparse_moe.experts." + std::to_string(e);
        out[expert + ".w1.weight"] = out[expert + ".w3.weight"] = {kExpertFf, kModel};
        out[expert + ".w2.weight"] = {kModel, kExpertFf};
      }
      continue;
    }
    out[at + "mlp.gate_proj.weight"] = {kFf, kModel};
    out[at + "mlp.up_proj.weight"] = {kFf, kModel};
    out[at + "mlp.down_proj.weight"] = {kModel, kFf};
  }
  return out;
}

inline Weights weights(std::uint64_t seed, bool experts = false) {
  Weights out;
  for (const auto& [name, shape] : shapes(experts)) {
    std::size_t count = 1;
    for (const auto dim : shape) count *= static_cast<std::size_t>(dim);
    std::vector<float> values(count);
    Random(seed, name).fill_normal(0, values);
    const float scale = 1.3F / std::sqrt(static_cast<float>(shape.back()));
    for (float& value : values) {
      value = shape.size() == 1                         ? 1 + 0.1F * value
              : name.find("embed") != std::string::npos ? value
                                                        : scale * value;
    }
    out[name] = std::move(values);
  }
  return out;
}

inline bool has_experts(const Weights& values) {
  return values.contains("model.layers.0.block_sparse_moe.gate.weight");
}

inline std::map<std::string, std::string> side_files(bool experts = false) {
  Json config = tiny::config(false);
  config["num_hidden_layers"] = kLayers;
  config["intermediate_size"] = experts ? kExpertFf : kFf;
  if (experts) {
    config["model_type"] = "mixtral";
    config["architectures"] = {"MixtralForCausalLM"};
    config["num_local_experts"] = kExperts;
    config["num_experts_per_tok"] = kChosen;
  }
  return {{"config.json", dump_json(config)}, {"tokenizer.json", dump_json(tiny::tokenizer())}};
}

/// Writes the model into `directory` in `dtype`.
inline void save(const fs::path& directory, const Weights& values, DType dtype = DType::kF32) {
  fs::create_directories(directory);
  std::vector<OutputTensor> tensors;
  for (const auto& [name, shape] : shapes(has_experts(values))) {
    const std::vector<float>& data = values.at(name);
    std::vector<std::byte> bytes(dtype_bytes(dtype, data.size()).value());
    encode_f32(dtype, data, bytes);
    tensors.push_back(
        {name, dtype, shape,
         [bytes = std::move(bytes)](const std::function<void(Bytes)>& emit) { emit(bytes); }});
  }
  (void)save_safetensors(directory / "model.safetensors", std::move(tensors), {{"format", "pt"}});
  for (const auto& [name, text] : side_files(has_experts(values)))
    write_file(directory / name, text);
}

}  // namespace lancet::tiny_edit
