// Matrices of 16 bits in the file stay so in memory in a model of float32: the same bits of every
// result as with weights widened when they are read, in half of the memory.

#include <cmath>
#include <limits>

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "formats/quant/decode.h"
#include "model/generate.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

std::uint16_t* halves(StoredTensor& tensor) {
  return reinterpret_cast<std::uint16_t*>(tensor.bytes.data());
}

/// The model with every bfloat16 tensor in float16, and `change` made to it.
Decoder load_float16(
    const std::string& name,
    const std::function<void(StoredTensors&)>& change = [](StoredTensors&) {}) {
  const ScratchFolder scratch("float16-" + name);
  write_changed(folder_of(name), scratch.path(), [&](StoredTensors& tensors, Json&) {
    for (auto& [_, tensor] : tensors) {
      if (tensor.dtype != DType::kBF16) continue;
      tensor.dtype = DType::kF16;
      for (std::size_t i = 0; i < tensor.bytes.size() / 2; ++i)
        halves(tensor)[i] = f32_to_f16(bf16_to_f32(halves(tensor)[i]));
    }
    change(tensors);
  });
  return Decoder::load(ModelSource::open(scratch.path()));
}

/// Hidden state, logits, gradients of them and of low-rank parts (few rows: beside the weight;
/// many: merged with it), and a text.
std::vector<at::Tensor> results(const Decoder& model) {
  std::vector<at::Tensor> out;
  const at::Tensor ids = random_ids(2, 20) % model.spec().vocab;
  {
    const at::NoGradGuard no_grad;
    out.push_back(model.forward(ids));
    for (const auto& row : generate_greedy(model, as_lists(ids), 6))
      out.push_back(at::tensor(at::ArrayRef<std::int32_t>(row)));
    std::vector<std::int32_t> targets;
    for (std::int32_t i = 0; i < 40; ++i) targets.push_back(i % 7);
    const at::Tensor hidden =
        at::randn({40, model.spec().d_model}, at::make_generator<at::CPUGeneratorImpl>(1));
    for (const TargetScore& score : model.score_targets(hidden, targets))
      out.push_back(at::scalar_tensor(score.logprob, at::kDouble));
  }
  const at::Tensor x = model.embed(ids).clone().requires_grad_(true);
  const at::Tensor logits = model.head(model.run(x, 0, model.spec().layers));
  out.push_back(torch::autograd::grad({logits.logsumexp(-1).sum()}, {x})[0]);
  for (const std::int64_t texts : {1, 24}) {
    LoraSettings settings;
    settings.targets = {"all-linear"};
    settings.rank = 4;
    LoraAdapter adapter(model.spec(), settings, 1);
    adapter.prepare(model);
    const Decoder adapted = model.with_low_rank(adapter.by_module());
    adapted.forward(random_ids(texts, 5) % model.spec().vocab).square().sum().backward();
    for (const at::Tensor& each : adapter.parameters()) out.push_back(each.grad());
  }
  return out;
}

void check_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("result " << i);
    CHECK(same_bits(a[i], b[i]));
  }
}

}  // namespace

TEST_CASE("16 bits: logits of every family have the bits of widened weights") {
  const at::NoGradGuard no_grad;
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name), wide = widened(model);
    const at::Tensor ids = random_ids(2, 11) % model.spec().vocab;
    CHECK(same_bits(model.forward(ids), wide.forward(ids)));
    CHECK(10 * model.weight_bytes() < 7 * wide.weight_bytes());
  }
}

TEST_CASE("16 bits: gradients, low-rank parts and texts have the bits of widened weights") {
  for (const std::string name : {"plain", "tied", "gpt2", "gpt_oss", "mixtral"}) {
    INFO(name);
    const Decoder model = load_tiny(name);
    check_same(results(model), results(widened(model)));
  }
}

TEST_CASE("16 bits: so it is with float16, subnormals among it") {
  for (const std::string name : {"plain", "gpt2", "gpt_oss", "jamba"}) {
    INFO(name);
    const Decoder model = load_float16(name);
    const Decoder wide = widened(model);
    CHECK(10 * model.weight_bytes() < 7 * wide.weight_bytes());
    CHECK(model.weight(model.mlp_down(1, model.spec().layer[1].moe ? 0 : -1)).scalar_type() ==
          at::kFloat);
    check_same(results(model), results(wide));
  }
}

TEST_CASE("16 bits: an edit is made in float32 and changes its matrix alone") {
  const Decoder model = load_tiny("plain");
  const MatrixRef down = model.mlp_down(1);
  CHECK(down.d_out == model.spec().d_model);
  // Less than what bfloat16 tells apart.
  const at::Tensor change = at::full({down.d_out, down.d_in}, 1e-6);
  const Decoder edited = model.with_change(down, change);
  CHECK(same_bits(edited.weight(down), model.weight(down) + change.to(at::kFloat)));
  CHECK_FALSE(same_bits(edited.weight(down), model.weight(down)));
  CHECK(edited.weight_bytes() == model.weight_bytes() + edited.weight(down).nbytes() / 2);
}

TEST_CASE("16 bits: NaN and infinities of float16 are refused with tensor and element") {
  using Bits = std::uint16_t;
  for (const Bits bits : {Bits{0x7c00}, Bits{0xfc00}, Bits{0x7e01}}) {
    const std::string message = error_of([&] {
      static_cast<void>(load_float16("plain", [&](StoredTensors& tensors) {
        halves(tensors.at("model.layers.1.mlp.up_proj.weight"))[77] = bits;
      }));
    });
    CHECK_THAT(message, Catch::Contains("element 77 of 'model.layers.1.mlp.up_proj.weight'"));
  }
}
