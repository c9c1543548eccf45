// Rows of float32 as terms in bfloat16, multiplied on tiles: what `--activations auto` is where the
// processor has AMX. (The products by themselves: kernels_test.cpp, on any processor.)

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "formats/model_source.h"
#include "model/kernels/gemm.h"
#include "model/load_options.h"
#include "model/lora.h"
#include "model/session.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

#define NEEDS_TILES() \
  if (!kernels::has_tiles()) LANCET_SKIP("the processor has no AMX")

Decoder load(const std::string& name, const LoadOptions& options) {
  return Decoder::load(ModelSource::open(folder_of(name)), options);
}

}  // namespace

TEST_CASE("terms: chosen by themselves where the processor has tiles, and refused elsewhere") {
  const auto rows_of = [](const std::string& dtype, const std::string& activations) {
    return load_options({.device = "cpu", .dtype = dtype, .activations = activations}).rows;
  };
  for (const std::string dtype : {"float32", "bfloat16"}) {
    CHECK((rows_of(dtype, "auto") == RowForm::kTerms) == kernels::has_tiles());
    CHECK(rows_of(dtype, "float32") == RowForm::kPlain);
  }
  if (kernels::has_tiles()) return;
  CHECK(error_of([] { static_cast<void>(load("plain", {.rows = RowForm::kTerms})); }).find("AMX") !=
        std::string::npos);
}

TEST_CASE("terms: logits of every family are those of plain products but for the last bits") {
  NEEDS_TILES();
  const at::NoGradGuard no_grad;
  for (const std::string& name : family_names()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      INFO(name << " " << c10::toString(dtype));
      const Decoder plain = load(name, {.dtype = dtype});
      const Decoder terms = load(name, {.dtype = dtype, .rows = RowForm::kTerms});
      const at::Tensor ids = random_ids(2, 40) % plain.spec().vocab;
      const at::Tensor got = terms.forward(ids), wanted = plain.forward(ids);
      CHECK_FALSE(same_bits(got, wanted));
      CHECK(relative(got, wanted) < tolerance::kSameModel);
      CHECK(terms.activation_name() == plain.activation_name());
      CHECK(same_bits(terms.for_steps().forward(ids), wanted));
      CHECK(same_bits(widened(terms).forward(ids), got));
      CHECK(same_bits(terms.forward(ids.narrow(0, 1, 1).contiguous()),
                      got.narrow(0, 1, 1).contiguous()));
    }
  }
}

TEST_CASE("terms: matrices in files give the bits of loaded ones, gradients too") {
  NEEDS_TILES();
  for (const std::string& name : family_names()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      INFO(name << " " << c10::toString(dtype));
      const Decoder loaded = load(name, {.dtype = dtype, .rows = RowForm::kTerms});
      const Decoder left = load(name, {.dtype = dtype, .offload = true, .rows = RowForm::kTerms});
      const at::Tensor ids = random_ids(1, 20) % loaded.spec().vocab;
      const auto slope = [&](const Decoder& model) {
        const at::Tensor x = model.embed(ids).detach().requires_grad_(true);
        const at::Tensor logits = model.head(model.run(x, 0, model.spec().layers));
        return torch::autograd::grad({logits.logsumexp(-1).sum()}, {x})[0];
      };
      CHECK(same_bits(left.forward(ids), loaded.forward(ids)));
      CHECK(same_bits(slope(left), slope(loaded)));
    }
  }
}

TEST_CASE("terms: gradients of low-rank parts are those of plain products") {
  NEEDS_TILES();
  for (const std::string name : {"plain", "gpt2", "mixtral"}) {
    INFO(name);
    const Decoder plain = load(name, {});
    const Decoder terms = load(name, {.rows = RowForm::kTerms});
    const auto gradients = [&](const Decoder& model) {
      LoraSettings settings;
      settings.targets = {"all-linear"};
      settings.rank = 4;
      LoraAdapter adapter(model.spec(), settings, 1);
      adapter.prepare(model);
      const at::Tensor ids = random_ids(12, 9) % model.spec().vocab;
      model.with_low_rank(adapter.by_module()).forward(ids).square().sum().backward();
      std::vector<at::Tensor> out;
      for (const at::Tensor& each : adapter.parameters()) out.push_back(each.grad());
      return out;
    };
    const auto got = gradients(terms), wanted = gradients(plain);
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(max_abs(got[i], wanted[i]) <=
            tolerance::kPassGradient * wanted[i].abs().max().item<double>());
  }
}

TEST_CASE("terms: prompts are read in terms, what follows them token by token is plain") {
  NEEDS_TILES();
  const c10::InferenceMode inference;
  const Decoder plain = load("plain", {});
  const Decoder terms = load("plain", {.rows = RowForm::kTerms});
  const at::Tensor tensor = random_ids(1, 30) % plain.spec().vocab;
  const auto ids = as_lists(tensor)[0];
  Session read(terms, {ids}, 4), steps(plain, {ids}, 4);
  CHECK_FALSE(same_bits(read.logits(), steps.logits()));
  CHECK(same_bits(read.logits()[0], terms.forward(tensor).select(1, 29)[0]));
  Session one(terms, {{ids[0]}}, 30), other(terms, {{ids[0]}}, 30);
  for (std::size_t i = 1; i < 5; ++i) one.feed({ids[i]});
  other.feed_ahead({ids.begin() + 1, ids.begin() + 5});
  CHECK(same_bits(one.logits()[0], other.logits()[3]));
}
