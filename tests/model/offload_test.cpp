// Matrices that stay in their files: the same bits, gradients and edits as with a loaded model, in
// memory that holds none of them.

#include <limits>

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "model/generate.h"
#include "model/linear.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Decoder load_offloaded(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return Decoder::load(ModelSource::open(folder_of(name)),
                       {.dtype = dtype, .device = at::kCPU, .offload = true});
}

std::vector<std::string> all_names() {
  std::vector<std::string> names = family_names();
  for (const auto& more : {tiny_names(), scaled_names()})
    names.insert(names.end(), more.begin(), more.end());
  return names;
}

void put_infinity(StoredTensor& tensor) {
  const float value = std::numeric_limits<float>::infinity();
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  REQUIRE(tensor.dtype == DType::kBF16);
  const auto half = static_cast<std::uint16_t>(bits >> 16U);
  std::memcpy(tensor.bytes.data() + tensor.bytes.size() / 2, &half, sizeof half);
}

}  // namespace

TEST_CASE("offload: logits have the bits of the loaded model, in float32 and bfloat16", "[slow]") {
  const at::NoGradGuard no_grad;
  for (const std::string& name : all_names()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      INFO(name << " " << c10::toString(dtype));
      const Decoder loaded = load_tiny(name, dtype), offloaded = load_offloaded(name, dtype);
      CHECK(offloaded.offloaded());
      CHECK_FALSE(loaded.offloaded());
      const at::Tensor ids = random_ids(2, 30) % loaded.spec().vocab;
      CHECK(same_bits(offloaded.forward(ids), loaded.forward(ids)));
    }
  }
}

TEST_CASE("offload: texts, scores and hidden states are those of the loaded model") {
  const at::NoGradGuard no_grad;
  for (const std::string name : {"plain", "gpt2", "gpt_oss", "opt", "mxfp4", "jamba"}) {
    INFO(name);
    const Decoder loaded = load_tiny(name), offloaded = load_offloaded(name);
    const auto prompts = as_lists(random_ids(3, 9));
    CHECK(generate_greedy(offloaded, prompts, 12) == generate_greedy(loaded, prompts, 12));
    const at::Tensor hidden = loaded.run(loaded.embed(random_ids(1, 20)), 0, 1);
    CHECK(same_bits(hidden, offloaded.run(offloaded.embed(random_ids(1, 20)), 0, 1)));
    const std::vector<std::int32_t> targets{3, 0, 41, 7};
    const auto a = loaded.score_targets(hidden[0].narrow(0, 0, 4), targets);
    const auto b = offloaded.score_targets(hidden[0].narrow(0, 0, 4), targets);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      CHECK(a[i].logprob == b[i].logprob);
      CHECK(a[i].rank == b[i].rank);
    }
  }
}

TEST_CASE("offload: memory holds vectors and what the engine reads whole, no matrix of a block") {
  for (const std::string& name : all_names()) {
    INFO(name);
    const Decoder offloaded = load_offloaded(name);
    std::uint64_t matrices = 0;
    for (const LinearModule& module : linear_modules(offloaded.spec()))
      matrices += static_cast<std::uint64_t>(module.d_in * module.d_out) * sizeof(float);
    CHECK(offloaded.weight_bytes() + matrices < widened(load_tiny(name)).weight_bytes());
  }
  const Decoder dense = load_offloaded("plain");
  std::uint64_t vectors = 0;
  const Decoder loaded = load_tiny("plain");
  for (const std::string& weight : loaded.weight_names()) {
    const at::Tensor value = loaded.weight(weight);
    vectors += value.dim() == 1 ? value.nbytes() : 0;
    CHECK(same_bits(dense.weight(weight), value));
    CHECK(same_bits(dense.matrix(weight), loaded.matrix(weight)));
  }
  CHECK(dense.weight_bytes() == vectors);
}

TEST_CASE("offload: gradients and low-rank parts are those of the loaded model, bit for bit") {
  for (const std::string name : {"plain", "gpt2", "gpt_oss"}) {
    INFO(name);
    std::vector<at::Tensor> found;
    for (const Decoder& model : {load_tiny(name), load_offloaded(name)}) {
      const at::Tensor x = model.embed(random_ids(2, 11)).clone().requires_grad_(true);
      const at::Tensor logits = model.head(model.run(x, 0, model.spec().layers));
      found.push_back(torch::autograd::grad({logits.logsumexp(-1).sum()}, {x})[0]);
    }
    CHECK(same_bits(found[0], found[1]));
  }
  std::vector<at::Tensor> gradients;
  for (const Decoder& base : {load_tiny("plain"), load_offloaded("plain")}) {
    LoraSettings settings;
    settings.rank = 4;  // 20 rows: no merged weight
    LoraAdapter adapter(base.spec(), settings, 1);
    adapter.prepare(base);
    const Decoder model = base.with_low_rank(adapter.by_module());
    model.forward(random_ids(1, 20)).square().sum().backward();
    for (const at::Tensor& each : adapter.parameters()) gradients.push_back(each.grad());
  }
  for (std::size_t i = 0; i < gradients.size() / 2; ++i)
    CHECK(same_bits(gradients[i], gradients[gradients.size() / 2 + i]));
}

TEST_CASE("offload: a replaced matrix is in memory and the rest stays where it was", "[slow]") {
  const at::NoGradGuard no_grad;
  for (const std::string name : {"plain", "gpt2", "llama4_text", "gpt_oss"}) {
    INFO(name);
    const Decoder loaded = load_tiny(name), offloaded = load_offloaded(name);
    const std::int64_t expert = loaded.spec().layer[1].moe ? 1 : -1;
    const MatrixRef down = loaded.mlp_down(1, expert), other = offloaded.mlp_down(1, expert);
    CHECK(down.name == other.name);
    CHECK(same_bits(loaded.weight(down), offloaded.weight(other)));
    const at::Tensor changed = loaded.weight(down.name) * 2;
    const Decoder a = loaded.with_weight(down.name, changed);
    const Decoder b = offloaded.with_weight(down.name, changed);
    CHECK(same_bits(a.forward(random_ids(1, 9)), b.forward(random_ids(1, 9))));
    CHECK(b.weight_bytes() == offloaded.weight_bytes() + changed.nbytes());
    CHECK(same_bits(b.weight(down.name), changed));
  }
}

TEST_CASE("offload: an infinite weight is met when it is read, and named") {
  const ScratchFolder folder("offload");
  const std::string bad = "model.layers.1.mlp.up_proj.weight";
  write_changed(folder_of("qwen3"), folder.path() / "model",
                [&](StoredTensors& tensors, Json&) { put_infinity(tensors.at(bad)); });
  const Decoder model = Decoder::load(ModelSource::open(folder.path() / "model"),
                                      {.dtype = at::kFloat, .device = at::kCPU, .offload = true});
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = model.run(model.embed(random_ids(1, 4)), 0, 1);
  const std::string message =
      error_of([&] { static_cast<void>(model.run(hidden, 1, model.spec().layers)); });
  CHECK_THAT(message, Catch::Contains(bad) && Catch::Contains("finite"));
}

TEST_CASE("offload: a quantised base beside it is refused") {
  const auto load = [] {
    return Decoder::load(
        ModelSource::open(folder_of("plain")),
        {.dtype = at::kFloat, .device = at::kCPU, .quant = BaseQuant::kNf4, .offload = true});
  };
  CHECK_THAT(error_of([&] { static_cast<void>(load()); }), Catch::Contains("found both"));
}
