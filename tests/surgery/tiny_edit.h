#pragma once
// A random Llama of three layers on disk, for surgery tests: d_model 32, 4 heads and 2 key heads of
// 8, d_ff 48, a tokenizer of twenty pieces. Values are drawn from a seed, scaled as trained weights
// are.

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
                              kVocab = 20, kLayers = 3;

using Weights = std::map<std::string, std::vector<float>>;

inline std::map<std::string, std::vector<std::int64_t>> shapes() {
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
    out[at + "mlp.gate_proj.weight"] = {kFf, kModel};
    out[at + "mlp.up_proj.weight"] = {kFf, kModel};
    out[at + "mlp.down_proj.weight"] = {kModel, kFf};
  }
  return out;
}

inline Weights weights(std::uint64_t seed) {
  Weights out;
  for (const auto& [name, shape] : shapes()) {
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

inline std::map<std::string, std::string> side_files() {
  Json config = tiny::config(false);
  config["num_hidden_layers"] = kLayers;
  config["intermediate_size"] = kFf;
  return {{"config.json", dump_json(config)}, {"tokenizer.json", dump_json(tiny::tokenizer())}};
}

/// Writes the model into `directory` in `dtype`.
inline void save(const fs::path& directory, const Weights& values, DType dtype = DType::kF32) {
  fs::create_directories(directory);
  std::vector<OutputTensor> tensors;
  for (const auto& [name, shape] : shapes()) {
    const std::vector<float>& data = values.at(name);
    std::vector<std::byte> bytes(dtype_bytes(dtype, data.size()).value());
    encode_f32(dtype, data, bytes);
    tensors.push_back(
        {name, dtype, shape,
         [bytes = std::move(bytes)](const std::function<void(Bytes)>& emit) { emit(bytes); }});
  }
  (void)save_safetensors(directory / "model.safetensors", std::move(tensors), {{"format", "pt"}});
  for (const auto& [name, text] : side_files()) write_file(directory / name, text);
}

}  // namespace lancet::tiny_edit
