// Models of every family with a GGUF form, written as GGUF and read back: the same description, the
// same logits.

#include <algorithm>

#include "core/error.h"
#include "formats/gguf_model.h"
#include "formats/model_writer.h"
#include "formats/names/name_map.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// A stored model as GGUF.
fs::path as_gguf(const ModelSource& source, const fs::path& path, bool quantize) {
  std::vector<OutputTensor> tensors;
  for (const TensorInfo& tensor : source.tensors())
    tensors.push_back(copy_tensor(source, tensor, std::nullopt));
  const GgufModel model = make_gguf_model(std::move(tensors), source.side_files(), quantize);
  save_gguf(path, model.metadata, model.tensors);
  return path;
}

/// Stored models that have a GGUF form.
std::vector<std::string> representable() {
  std::vector<std::string> names{"plain",
                                 "head_dim",
                                 "qwen2-tied",
                                 "qwen3",
                                 "gemma",
                                 "phi3-window",
                                 "phi",
                                 "mixtral",
                                 "gpt2",
                                 "starcoder2",
                                 "starcoder2-no_bias",
                                 "falcon-7b",
                                 "falcon-11b",
                                 "falcon-40b",
                                 "gpt_neox",
                                 "gpt_neox-serial",
                                 "olmo2",
                                 "cohere",
                                 "cohere-qk",
                                 "stablelm",
                                 "granite",
                                 "granite-bias",
                                 "phi3-longrope",
                                 "bloom",
                                 "mamba",
                                 "gpt_oss",
                                 "deepseek_v2",
                                 "deepseek_v3"};
  const auto more = gguf_names();
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

}  // namespace

TEST_CASE("gguf models: every family with names has a model here") {
  std::vector<std::string> types;
  for (const std::string& name : representable())
    types.push_back(ModelSource::open(folder_of(name)).config()["model_type"].get<std::string>());
  for (const NameFamily& family : name_families()) {
    INFO(family.hf_types.front());
    CHECK(std::ranges::find(types, family.hf_types.front()) != types.end());
  }
}

TEST_CASE("gguf models: logits after the way to GGUF and back are those before it", "[slow]") {
  const at::NoGradGuard no_grad;
  for (const std::string& name : representable()) {
    INFO(name);
    const ScratchFolder folder("gguf-models");
    const ModelSource before = ModelSource::open(folder_of(name));
    const ModelSource after = ModelSource::open(as_gguf(before, folder.path() / "m.gguf", false));
    const Decoder model = Decoder::load(before), back = Decoder::load(after);
    CHECK(back.spec().model_type == model.spec().model_type);
    const at::Tensor ids = random_ids(2, 40);
    CHECK(max_abs(back.forward(ids), model.forward(ids)) < tolerance::kSameModel);
    // And from there into a directory: values by parts, as files are written.
    for (const TensorInfo& tensor : after.tensors()) {
      std::string bytes;
      copy_tensor(after, tensor, DType::kF32).write([&](Bytes block) {
        bytes.append(reinterpret_cast<const char*>(block.data()), block.size());
      });
      const at::Tensor own = back.matrix(tensor.name).contiguous();
      REQUIRE(bytes.size() == own.nbytes());
      INFO(tensor.name);
      CHECK(std::memcmp(bytes.data(), own.const_data_ptr(), bytes.size()) == 0);
    }
    const Decoder offloaded =
        Decoder::load(after, {.dtype = at::kFloat, .device = at::kCPU, .offload = true});
    CHECK(same_bits(offloaded.forward(ids), back.forward(ids)));
  }
}

TEST_CASE("gguf models: stacked experts and transposed matrices survive blocks of eight bits") {
  const at::NoGradGuard no_grad;
  for (const std::string name : {"mixtral", "gpt2", "falcon-40b", "qwen3_moe-every"}) {
    INFO(name);
    const ScratchFolder folder("gguf-models");
    const ModelSource before = ModelSource::open(folder_of(name));
    const ModelSource after = ModelSource::open(as_gguf(before, folder.path() / "m.gguf", true));
    const Decoder model = Decoder::load(before), back = Decoder::load(after);
    const bool any = std::ranges::any_of(
        after.tensors(), [](const TensorInfo& tensor) { return tensor.dtype == DType::kQ8_0; });
    CHECK(any);
    for (const std::string& weight : model.weight_names()) {
      INFO(weight);
      // Half a step of 127 to the largest of a block.
      CHECK(relative(back.matrix(weight), model.matrix(weight)) < 0.005);
    }
  }
}

TEST_CASE("gguf models: what a family's GGUF cannot say is refused with both values") {
  const auto refused = [](const std::string& name, const std::string& key, const Json& value,
                          const std::string& told) {
    INFO(name << " " << key);
    const ScratchFolder folder("gguf-models");
    write_changed(folder_of(name), folder.path() / "model",
                  [&](StoredTensors&, Json& config) { config[key] = value; });
    const ModelSource source = ModelSource::open(folder.path() / "model");
    const std::string message =
        error_of([&] { static_cast<void>(as_gguf(source, folder.path() / "m.gguf", false)); });
    CHECK_THAT(message, Catch::Contains(told));
  };
  refused("gemma2-capped", "query_pre_attn_scalar", 20, "expected query_pre_attn_scalar 8");
  refused("gemma2-capped", "attn_logit_softcapping", nullptr, "attn_logit_softcapping");
  refused("gemma3_text-six", "final_logit_softcapping", 3.0, "found 3.0");
  refused("cohere2-four", "layer_types",
          Json::array({"full_attention", "full_attention", "full_attention", "full_attention"}),
          "layer 0");
  refused("qwen2_moe-every", "norm_topk_prob", true, "norm_topk_prob false");
  refused("qwen3_moe-every", "mlp_only_layers", Json::array({0}), "mlp_only_layers");
  refused("falcon-7b", "alibi", true, "alibi false");
  refused("starcoder2", "hidden_act", "relu", "gelu_pytorch_tanh");
  refused("gpt2", "scale_attn_by_inverse_layer_idx", true, "scale_attn_by_inverse_layer_idx");
  refused("stablelm", "qk_layernorm", true, "qk_layernorm");
  refused("deepseek_v2", "topk_method", "group_limited_greedy", "topk_method");
  refused("deepseek_v3", "rope_interleave", false, "rope_interleave true");
  refused("bloom", "apply_residual_connection_post_layernorm", true, "post_layernorm false");
  refused("mamba", "use_bias", true, "use_bias false");
  refused("mamba", "expand", 3, "expand 2");
  Json rope = ModelSource::open(folder_of("phi3-longrope")).config()["rope_parameters"];
  refused("plain", "rope_parameters", rope, "longrope scaling has no place");
  rope["long_factor"].erase(0);
  refused("phi3-longrope", "rope_parameters", rope, "expected 6 factors of longrope, found 5");
}
