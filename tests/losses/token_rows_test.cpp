// Losses of single tokens where they stay on the device, through the kernels' twins on the CPU: the
// plain formula's values and gradients, however the rows are divided.
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "distill/losses/ops/token_rows.h"
#include "model/cuda/launch.h"
#include "model/lora.h"
#include "tests/catch.h"
#include "tests/losses/plain.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Outcome {
  LossResult result;
  at::Tensor gradient;
};

Outcome on_twins(const Decoder& model, const Case& given, const LossOptions& options) {
  const fused::TwinsOnCpu twins;
  const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
  Outcome out{head_loss(model, hidden, given.targets, options), {}};
  out.gradient = torch::autograd::grad({out.result.sum}, {hidden})[0];
  return out;
}

void check_formula(const Decoder& model, const Case& given, const LossOptions& options) {
  const Outcome own = on_twins(model, given, options);
  const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
  const at::Tensor wanted =
      plain_loss(model.head(hidden).to(at::kDouble), given.targets, options, {});
  const at::Tensor gradient = torch::autograd::grad({wanted}, {hidden})[0];
  const double value = wanted.item<double>();
  CHECK(std::fabs(own.result.sum.item<double>() - value) <
        tolerance::kLossValue * std::max(1.0, std::fabs(value)));
  CHECK(relative(own.gradient, gradient) < tolerance::kLossGradient);
}

}  // namespace

TEST_CASE("token rows: of every family's head, on a device, they are the plain formula") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = widened(load_tiny(name));
    for (const std::string_view loss : {"sft", "dpo", "on_policy"}) {
      INFO(loss);
      check_formula(model, make_case(find_loss(loss), model, 9), loss_options(loss));
    }
  }
}

TEST_CASE("token rows: ids that are never said get no gradient on a device either") {
  const Decoder base = widened(load_tiny("plain"));
  const Decoder model = base.with_masked_ids({{5, 9}, {40, 41}});
  Case given = make_case(find_loss("sft"), model, 9);
  for (std::int32_t& each : given.targets.next) each = each % 4;
  check_formula(model, given, loss_options("sft"));
}

TEST_CASE("token rows: chunks change nothing but roundings of the products") {
  const Decoder model = widened(load_tiny("bias"));
  const Case given = make_case(find_loss("sft"), model, 40);
  const auto run = [&](std::int64_t at_once, std::vector<double>& ce) {
    const fused::TwinsOnCpu twins;
    losses::HeadRows rows =
        losses::token_rows(given.targets.next, std::vector<float>(40, 0.5F), ce.data());
    rows.at_once = at_once;
    CHECK(losses::stays_on_device(rows, given.hidden));
    const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
    const at::Tensor values = losses::head_rows(model, hidden, rows);
    const at::Tensor gradient = torch::autograd::grad({values.sum()}, {hidden})[0];
    const at::NoGradGuard no_grad;
    CHECK(same_bits(losses::head_rows(model, hidden, rows), values));
    return std::pair(values.detach(), gradient);
  };
  std::vector<double> ce(40), other(40);
  const auto [values, gradient] = run(0, ce);
  for (std::size_t i = 0; i < ce.size(); ++i)
    CHECK(values[static_cast<std::int64_t>(i)].item<double>() == 0.5 * ce[i]);
  for (const std::int64_t at_once : {1LL, 7LL, 39LL}) {
    const auto [again, slopes] = run(at_once, other);
    CHECK(relative(again, values) < tolerance::kLossValue);
    CHECK(relative(slopes, gradient) < tolerance::kLossGradient);
  }
  CHECK_FALSE(losses::stays_on_device(losses::token_rows({1}, {}, nullptr), given.hidden));
}

TEST_CASE("token rows: a bfloat16 stream, as a GPU has it, learns what the float32 one learns") {
  const Decoder model = load_tiny("plain", at::kBFloat16);
  LoraSettings settings;
  settings.targets = {"all-linear"};
  const LoraAdapter adapter(model.spec(), settings, 1);
  for (const auto& part : adapter.parts()) {
    const at::NoGradGuard no_grad;
    part->b.copy_(at::randn_like(part->b) * 0.1);
  }
  const Decoder student = model.with_low_rank(adapter.by_module());
  const at::Tensor ids = random_ids(3, 12);
  LossTargets targets;
  const at::Tensor next = random_ids(3, 12, 8).flatten();
  for (std::int64_t i = 0; i < next.numel(); ++i)
    targets.next.push_back(static_cast<std::int32_t>(next[i].item<std::int64_t>()));
  const auto step = [&](at::ScalarType type) {
    const at::Tensor stream = student.run(student.embed(ids).to(type), 0, model.spec().layers);
    const LossResult loss = head_loss(student, stream.flatten(0, 1), targets, loss_options("sft"));
    std::vector<at::Tensor> all;
    for (const at::Tensor& each : torch::autograd::grad({loss.sum}, adapter.parameters()))
      all.push_back(each.flatten());
    return std::pair(loss.sum.item<double>(), at::cat(all));
  };
  const auto [value, gradient] = step(at::kFloat);
  const fused::TwinsOnCpu twins;
  const auto [narrow, slopes] = step(at::kBFloat16);
  CHECK(slopes.scalar_type() == at::kFloat);
  CHECK(narrow == Approx(value).epsilon(tolerance::kBFloat16));
  const at::Tensor cosine = at::dot(slopes, gradient) / (slopes.norm() * gradient.norm());
  CHECK(cosine.item<double>() > 1 - tolerance::kBFloat16);
}

TEST_CASE(
    "token rows: losses of other rows keep to the CPU on the way of a GPU, with their values") {
  const Decoder model = widened(load_tiny("plain"));
  for (const Loss* loss : loss_registry()) {
    INFO(loss->name);
    const Case given = make_case(*loss, model, 11);
    const LossOptions options = loss_options(loss->name);
    const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
    const LossResult native = head_loss(model, hidden, given.targets, options);
    const at::Tensor gradient = torch::autograd::grad({native.sum}, {hidden})[0];
    const Outcome own = on_twins(model, given, options);
    const double value = native.sum.item<double>();
    CHECK(std::fabs(own.result.sum.item<double>() - value) <
          tolerance::kLossValue * std::max(1.0, std::fabs(value)));
    CHECK(relative(own.gradient, gradient) < tolerance::kLossGradient);
    CHECK(own.result.ce == Approx(native.ce).epsilon(tolerance::kLossValue));
  }
}
