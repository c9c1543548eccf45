// A head with a low-rank part: values and gradients of every loss are those of the plain formula,
// the part's factors included.
#include <cmath>
#include <optional>

#include <torch/csrc/autograd/autograd.h>

#include "core/rng.h"
#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"
#include "model/cuda/launch.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/losses/plain.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Adapted {
  Adapted(const std::string& name, bool dora, double dropout = 0)
      : base(widened(load_tiny(name))), adapter(base.spec(), settings(base, dora, dropout), 1) {
    adapter.prepare(base);
    const at::NoGradGuard no_grad;
    const at::Tensor b = adapter.parts()[0]->b.detach();
    Random(3, "head").fill_normal(
        0, {b.mutable_data_ptr<float>(), static_cast<std::size_t>(b.numel())});
    b.mul_(0.2);
    if (dora) adapter.parts()[0]->magnitude.mul_(1.1);
    model.emplace(base.with_low_rank(adapter.by_module()));
  }

  static LoraSettings settings(const Decoder& base, bool dora, double dropout) {
    LoraSettings out;
    out.targets = {base.spec().names.head};
    out.rank = 3;
    out.alpha = 3;
    out.dora = dora;
    out.dropout = dropout;
    return out;
  }

  Decoder base;
  LoraAdapter adapter;
  std::optional<Decoder> model;
};

/// Gradients of `sum` with respect to hidden states and the part.
std::vector<at::Tensor> gradients(const at::Tensor& sum, const at::Tensor& hidden,
                                  const LoraAdapter& adapter) {
  std::vector<at::Tensor> inputs{hidden};
  for (const at::Tensor& each : adapter.parameters()) inputs.push_back(each);
  return torch::autograd::grad({sum}, inputs);
}

void check_loss(const Adapted& own, const LossOptions& options) {
  INFO(options.json().dump());
  const Case given = make_case(*options.loss, *own.model, 11);
  const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
  const LossResult result = head_loss(*own.model, hidden, given.targets, options);
  const auto mine = gradients(result.sum * 0.5, hidden, own.adapter);
  const at::Tensor teacher = given.targets.teacher == nullptr
                                 ? at::Tensor()
                                 : own.model->head(given.targets.teacher_hidden).detach();
  const at::Tensor wanted =
      plain_loss(own.model->head(hidden).to(at::kDouble), given.targets, options, teacher);
  const auto theirs = gradients(wanted * 0.5, hidden, own.adapter);
  const double value = wanted.item<double>();
  CHECK(std::fabs(result.sum.item<double>() - value) <
        tolerance::kLossValue * std::max(1.0, std::fabs(value)));
  for (std::size_t i = 0; i < mine.size(); ++i)
    CHECK(relative(mine[i], theirs[i]) < tolerance::kLossGradient);
}

}  // namespace

TEST_CASE("losses: a head with factors has the plain formula's values and gradients") {
  for (const bool dora : {false, true}) {
    const Adapted own("plain", dora);
    for (const Loss* loss : loss_registry()) {
      for (const auto& given : settings_of(*loss)) check_loss(own, loss_options(loss->name, given));
    }
  }
}

TEST_CASE("losses: softcap, scale and bias stand behind the factors of a head") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Adapted own(name, true);
    check_loss(own, loss_options("sft"));
    check_loss(own, loss_options("dpo"));
  }
}

TEST_CASE("losses: a head with factors has them on the way of a GPU, too") {
  const fused::TwinsOnCpu twins;
  for (const bool dora : {false, true}) {
    const Adapted own("plain", dora);
    for (const Loss* loss : loss_registry()) check_loss(own, loss_options(loss->name));
  }
  for (const std::string& name : family_names()) {
    INFO(name);
    check_loss(Adapted(name, false), loss_options("sft"));
  }
}

TEST_CASE("losses: a head's dropout is that of its rows, however they are divided") {
  const Adapted own("plain", false, 0.3);
  own.adapter.state().draw = 2;
  const Case given = make_case(find_loss("sft"), *own.model, 40);
  const auto run = [&](std::int64_t at_once) {
    losses::HeadRows rows;
    rows.at_once = at_once;
    rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
      return losses::cross_entropy(logits, given.targets.next[static_cast<std::size_t>(row)],
                                   gradient);
    };
    const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
    const at::Tensor values = losses::head_rows(*own.model, hidden, rows);
    return std::pair(values.detach(), gradients(values.sum(), hidden, own.adapter));
  };
  const auto whole = run(0);
  const auto parts = run(7);
  CHECK(same_bits(whole.first, parts.first));
  CHECK(same_bits(whole.second[0], parts.second[0]));
  for (std::size_t i = 1; i < whole.second.size(); ++i)
    CHECK(relative(parts.second[i], whole.second[i]) < tolerance::kOperator);
  own.adapter.state().draw = -1;
  CHECK_FALSE(same_bits(whole.first, run(0).first));
}
