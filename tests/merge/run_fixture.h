#pragma once
// Tiny models on disk and the recipes that the tests of merge runs share.

#include "merge/run.h"

#include "core/hash.h"
#include "tests/merge/memory.h"

namespace lancet::test {

/// Two layers, an embedding, norms and a head; values by `seed`.
inline NamedTensors tiny(unsigned seed, std::int64_t vocab = 12, int layers = 2) {
  NamedTensors out;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t n = 1;
    for (const auto d : shape) n *= static_cast<std::size_t>(d);
    out[name] = {shape, random_values(n, seed + static_cast<unsigned>(out.size()), 0.02)};
  };
  add("model.embed_tokens.weight", {vocab, 8});
  for (int l = 0; l < layers; ++l) {
    const std::string prefix = "model.layers." + std::to_string(l) + ".";
    add(prefix + "self_attn.q_proj.weight", {8, 8});
    add(prefix + "mlp.up_proj.weight", {16, 8});
    add(prefix + "input_layernorm.weight", {8});
  }
  add("model.norm.weight", {8});
  add("lm_head.weight", {vocab, 8});
  return out;
}

inline const Json kConfig{{"model_type", "llama"},
                          {"num_hidden_layers", 2},
                          {"vocab_size", 12},
                          {"tie_word_embeddings", false},
                          {"torch_dtype", "float32"}};

inline Json merge(const std::string& recipe, const fs::path& directory, const fs::path& out,
                  RunOptions run = {}, MergeOptions options = {}) {
  const RecipeFile file = parse_recipe(recipe, "r.yml", directory);
  return run_merge(file, *plan_merge(file, options), out, run);
}

inline Values values_of(const fs::path& model, const std::string& name) {
  const ModelSource source = ModelSource::open(model);
  const TensorInfo& tensor = source.at(name);
  std::vector<float> values(tensor.elements());
  source.read_f32(tensor, 0, tensor.shape[0], values);
  return {values.begin(), values.end()};
}

inline std::string weights_hash(const fs::path& model) {
  std::string all;
  for (const auto& entry : fs::directory_iterator(model)) {
    if (entry.path().extension() == ".safetensors")
      all += entry.path().filename().string() + sha256_file(entry.path());
  }
  return all;
}

struct Fixture {
  Scratch scratch;
  Fixture() {
    save_model(scratch / "a", tiny(1), DType::kF32, kConfig);
    save_model(scratch / "b", tiny(100), DType::kF32, kConfig);
    save_model(scratch / "c", tiny(200), DType::kF32, kConfig);
  }
};

inline const std::string kLinear =
    "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 0.75}}\n  - {model: b, "
    "parameters: {weight: 0.25}}\n";
inline const std::string kTies =
    "merge_method: ties\nbase_model: a\nparameters: {density: 0.5, weight: 1}\nmodels: [{model: "
    "a}, {model: b}, {model: c}]\n";

}  // namespace lancet::test
