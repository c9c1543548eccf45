// Models of every family with a GGUF form, written as GGUF and read back: the same description, the
// same logits.

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "formats/gguf_model.h"
#include "formats/model_writer.h"
#include "formats/names/name_map.h"
#include "model/architecture.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// A stored model as GGUF.
fs::path as_gguf(const ModelSource& source, const fs::path& path, bool quantize,
                 const std::optional<Json>& config = std::nullopt) {
  std::vector<OutputTensor> tensors;
  for (const TensorInfo& tensor : source.tensors())
    tensors.push_back(copy_tensor(source, tensor, std::nullopt));
  auto files = source.side_files();
  if (config) files["config.json"] = dump_json(*config);
  const GgufModel model = make_gguf_model(std::move(tensors), files, quantize);
  save_gguf(path, model.metadata, model.tensors);
  return path;
}

/// What both descriptions take from config.json, and from metadata.
void check_same_description(const DecoderSpec& found, const DecoderSpec& expected) {
  CHECK(found.max_positions == expected.max_positions);
  CHECK(found.tied_head == expected.tied_head);
  CHECK(found.parallel == expected.parallel);
  CHECK(found.norm.eps == expected.norm.eps);
  CHECK(found.embed_scale == expected.embed_scale);
  CHECK(found.residual_scale == expected.residual_scale);
  CHECK(found.logit_scale == Approx(expected.logit_scale));
  CHECK(found.logit_softcap == expected.logit_softcap);
  CHECK(found.attention.heads == expected.attention.heads);
  CHECK(found.attention.kv_heads == expected.attention.kv_heads);
  CHECK(found.attention.d_head == expected.attention.d_head);
  CHECK(found.attention.scale == Approx(expected.attention.scale));
  CHECK(found.attention.softcap == expected.attention.softcap);
  CHECK(found.mlp.activation == expected.mlp.activation);
  CHECK(found.moe.normalize == expected.moe.normalize);
  CHECK(found.moe.shared_d_ff == expected.moe.shared_d_ff);
  CHECK(found.moe.scale == expected.moe.scale);
  REQUIRE(found.ropes.size() == expected.ropes.size());
  for (std::size_t i = 0; i < found.ropes.size(); ++i) {
    CHECK(found.ropes[i].kind == expected.ropes[i].kind);
    CHECK(found.ropes[i].theta == expected.ropes[i].theta);
    CHECK(found.ropes[i].dims == expected.ropes[i].dims);
    CHECK(found.ropes[i].attention_factor == Approx(expected.ropes[i].attention_factor));
    if (found.ropes[i].kind != RopeKind::kLongRope)  // whose factor says no more than that
      CHECK(found.ropes[i].factor == expected.ropes[i].factor);
  }
  REQUIRE(found.layer.size() == expected.layer.size());
  for (std::size_t i = 0; i < found.layer.size(); ++i) {
    // A window that hides nothing is as good as none.
    const auto hides = [&](std::int64_t window) {
      return window < expected.max_positions ? window : 0;
    };
    CHECK(hides(found.layer[i].window) == hides(expected.layer[i].window));
  }
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

TEST_CASE("gguf models: a window shorter than the context makes a file for as many tokens") {
  const at::NoGradGuard no_grad;
  for (const std::string name :
       {"mistral-window", "mixtral-window", "qwen2-window", "qwen3-window"}) {
    INFO(name);
    const ScratchFolder folder("gguf-models");
    const ModelSource before = ModelSource::open(folder_of(name));
    const auto window = before.config()["sliding_window"].get<std::int64_t>();
    REQUIRE(window < before.config()["max_position_embeddings"].get<std::int64_t>());
    const ModelSource after = ModelSource::open(as_gguf(before, folder.path() / "m.gguf", false));
    const Decoder model = Decoder::load(before), back = Decoder::load(after);
    CHECK(back.spec().max_positions == window);
    const at::Tensor ids = random_ids(2, window);
    CHECK(max_abs(back.forward(ids), model.forward(ids)) < tolerance::kSameModel);
  }
}

TEST_CASE("gguf models: what a config leaves out comes back as its family means it", "[slow]") {
  auto names = representable();
  for (const char* more : {"mistral-window", "mixtral-window", "qwen2-window", "qwen3-window"})
    names.emplace_back(more);
  std::size_t written = 0;
  for (const std::string& name : names) {
    const ModelSource source = ModelSource::open(folder_of(name));
    const Json config = source.config();
    for (const auto& [key, value] : config.items()) {
      INFO(name << " without " << key);
      Json less = config;
      less.erase(key);
      const ScratchFolder folder("gguf-models");
      DecoderSpec before, after;
      if (!error_of([&] { before = describe_decoder(less); }).empty()) continue;
      // Not a config of these tensors then.
      if (before.tied_head != describe_decoder(config).tied_head) continue;
      fs::path file;
      if (!error_of([&] { file = as_gguf(source, folder.path() / "m.gguf", false, less); }).empty())
        continue;
      ++written;
      after = describe_decoder(ModelSource::open(file).config());
      if (before.model_type != "mistral") CHECK(after.model_type == before.model_type);
      for (const auto& layer : before.layer) {  // a window limits the file's length
        if (layer.window > 0 && layer.window == after.max_positions)
          before.max_positions = after.max_positions;
      }
      check_same_description(after, before);
    }
  }
  CHECK(written > 600);
}

TEST_CASE("gguf models: older spellings of a config come back as they are meant") {
  const auto back = [](const std::string& name, const Json& changes) {
    const ScratchFolder folder("gguf-models");
    const ModelSource source = ModelSource::open(folder_of(name));
    Json config = source.config();
    config.erase("rope_parameters");
    config.update(changes);
    return describe_decoder(
        ModelSource::open(as_gguf(source, folder.path() / "m.gguf", false, config)).config());
  };
  CHECK(back("gpt_neox", {{"rotary_emb_base", 25000}}).ropes[0].theta == 25000);
  CHECK(back("gpt_neox", {{"hidden_act", "gelu_fast"}}).mlp.activation == Activation::kGeluTanh);
  CHECK(back("gpt_neox", {{"hidden_act", "gelu"}}).mlp.activation == Activation::kGelu);
  CHECK(back("gemma", {{"hidden_act", "gelu"}}).mlp.activation == Activation::kGeluTanh);
  CHECK(back("llama3", {{"rope_theta", 5e5},
                        {"rope_scaling",
                         {{"rope_type", "llama3"},
                          {"factor", 16.0},
                          {"low_freq_factor", 2.0},
                          {"high_freq_factor", 8.0},
                          {"original_max_position_embeddings", 64}}}})
            .ropes[0]
            .factor == 16);
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
  refused("starcoder2", "hidden_act", "gelu", "gelu_pytorch_tanh, found 'gelu'");
  refused("phi", "hidden_act", "gelu", "gelu_new, found 'gelu'");
  refused("gemma", "hidden_activation", "gelu", "gelu_pytorch_tanh, found 'gelu'");
  // A window without tokens, and one of a rotation that the length is part of.
  const std::string window = "expected a sliding_window of at least max_position_embeddings 64";
  refused("mistral-window", "sliding_window", 0, window);
  refused("qwen2-window", "rope_parameters",
          {{"rope_type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 32}},
          window);
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
