// The fused operators through their twins on the CPU: against formulas in float64, at their edges,
// and in the place that a GPU has in a pass.

#include <bit>
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "core/parallel.h"
#include "model/cuda/launch.h"
#include "model/cuda/row_math.h"
#include "model/cuda/twins.h"
#include "model/kernels/elementwise.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/residual.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/model/fused_cases.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// Values and gradients of every case against its formula in float64 of the same inputs.
void check_formulas(const std::vector<FusedCase>& cases) {
  const fused::TwinsOnCpu twins;
  for (const FusedCase& each : cases) {
    INFO(each.name);
    std::vector<at::Tensor> wide;
    for (const at::Tensor& input : each.inputs) wide.push_back(input.to(at::kDouble));
    const auto got = outcome(each.fused, each.inputs, at::kCPU);
    const auto want = outcome(each.formula, wide, at::kCPU);
    const bool narrow = each.inputs[0].scalar_type() == at::kBFloat16;
    const double bound = narrow ? tolerance::kBFloat16 : tolerance::kOperator;
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      INFO("output or gradient " << i);
      CHECK(relative(got[i], want[i]) < bound);
    }
  }
}

}  // namespace

TEST_CASE("fused: RMS norm, beside its stream, is its formula in float64, forward and backward") {
  check_formulas(norm_cases());
}

TEST_CASE("fused: rotation is its formula in float64, whole and partial, halves and pairs") {
  check_formulas(rotate_cases());
}

TEST_CASE("fused: SwiGLU is its formula in float64, of halves of one product, too") {
  check_formulas(swiglu_cases());
}

TEST_CASE("fused: cross-entropy and its gradient are their formulas in float64") {
  const fused::TwinsOnCpu twins;
  for (const CrossEntropyCase& each : cross_entropy_cases()) {
    INFO(each.name);
    const CrossEntropyOutcome got = outcome(each, at::kCPU);
    const CrossEntropyOutcome want = formula(each);
    CHECK(max_abs(got.losses, want.losses) < tolerance::kLogProbability);
    const bool narrow = each.logits.scalar_type() == at::kBFloat16;
    const double bound = narrow ? tolerance::kBFloat16 : tolerance::kOperator;
    CHECK(max_abs(got.gradient, want.gradient) <
          bound * std::max(want.gradient.abs().max().item<double>(), 1e-3));
    CHECK(got.losses[2].item<double>() == 0);
    CHECK(got.gradient[2].abs().max().item<double>() == 0);
    for (const auto& [first, last] : each.form.masked)
      CHECK(got.gradient.slice(1, first, last).abs().max().item<double>() == 0);
  }
}

TEST_CASE("fused: cross-entropy without a gradient leaves the logits alone") {
  const fused::TwinsOnCpu twins;
  const CrossEntropyCase given = cross_entropy_cases()[3];
  const at::Tensor logits = given.logits.clone();
  const at::Tensor losses = fused::cross_entropy(logits, given.targets, {}, given.form, false);
  CHECK(same_bits(logits, given.logits));
  CHECK(same_bits(losses, outcome(given, at::kCPU).losses));
}

TEST_CASE("fused: a logit that is no number makes its row's loss one, and no other's") {
  const fused::TwinsOnCpu twins;
  const at::Tensor logits = at::randn({3, 300});
  logits[1][7] = std::nan("");
  const std::vector<std::int32_t> targets{1, 2, 3};
  const at::Tensor losses = fused::cross_entropy(logits, targets, {}, {}, true);
  CHECK(std::isnan(losses[1].item<double>()));
  CHECK(std::isfinite(losses[0].item<double>()));
  CHECK(std::isfinite(losses[2].item<double>()));
}

TEST_CASE("fused: large logits and gates neither overflow nor become NaN") {
  const fused::TwinsOnCpu twins;
  const at::Tensor logits = at::tensor({1e4F, -1e4F, 0.0F, 1e4F}).view({1, 4});
  const std::vector<std::int32_t> target{1};
  const at::Tensor losses = fused::cross_entropy(logits, target, {}, {}, true);
  CHECK(losses[0].item<double>() == Approx(2e4 + std::log(2.0)));
  CHECK(max_abs(logits, at::tensor({0.5, -1.0, 0.0, 0.5}).view({1, 4})) < 1e-7);
  const at::Tensor masked = at::randn({1, 4});
  const fused::LogitForm form{1, 0, {{1, 2}}};
  CHECK(fused::cross_entropy(masked, target, {}, form, true)[0].item<double>() > 1e38);
  CHECK(masked[0][1].item<float>() == 0);
  const at::Tensor gate = at::tensor({-1e30F, -104.0F, 104.0F, 1e30F}).requires_grad_(true);
  const at::Tensor y = fused::swiglu(gate, at::ones({4}));
  CHECK(max_abs(y, at::tensor({0.0F, 0.0F, 104.0F, 1e30F})) == 0);
  const at::Tensor slope = torch::autograd::grad({y.sum()}, {gate})[0];
  CHECK(max_abs(slope, at::tensor({0.0F, 0.0F, 1.0F, 1.0F})) < 1e-6);
}

TEST_CASE("fused: a rotation in place, turned back, gives what was there") {
  const at::Tensor x = at::randn({6, 3, 20});
  const at::Tensor angle = at::randn({9, 8});
  const at::Tensor cos = angle.cos(), sin = angle.sin();
  const at::Tensor positions = at::tensor({0, 8, 3, 3, 1, 7}, at::kLong);
  for (const bool interleaved : {false, true}) {
    const at::Tensor y = x.clone();
    fused::Rotation job{.x = y.const_data_ptr(),
                        .y = y.mutable_data_ptr(),
                        .ldx = 60,
                        .ldy = 60,
                        .cos = cos.const_data_ptr<float>(),
                        .sin = sin.const_data_ptr<float>(),
                        .positions = positions.const_data_ptr<std::int64_t>(),
                        .rows = 6,
                        .heads = 3,
                        .d_head = 20,
                        .dims = 16,
                        .interleaved = interleaved};
    REQUIRE(fused::twins.rotate(&job, nullptr) == 0);
    CHECK(max_abs(y, x) > 0.1);
    CHECK(same_bits(y.narrow(2, 16, 4).contiguous(), x.narrow(2, 16, 4).contiguous()));
    job.inverse = true;
    REQUIRE(fused::twins.rotate(&job, nullptr) == 0);
    CHECK(relative(y, x) < tolerance::kOperator);
  }
}

TEST_CASE("fused: the gradient of an RMS norm may take the place of what comes in") {
  const at::Tensor x = at::randn({4, 100}), w = at::randn({100});
  for (const bool plus : {false, true}) {
    const at::Tensor dy = at::randn({4, 100}), side = at::randn({4, 100});
    at::Tensor apart = at::empty_like(dy);
    fused::RmsNormBackward job{.x = x.const_data_ptr(),
                               .weight = w.const_data_ptr(),
                               .dy = dy.const_data_ptr(),
                               .plus = plus ? side.const_data_ptr() : nullptr,
                               .dx = apart.mutable_data_ptr(),
                               .rows = 4,
                               .d = 100,
                               .eps = 1e-6F};
    REQUIRE(fused::twins.rms_norm_backward(&job, nullptr) == 0);
    job.dx = plus ? side.mutable_data_ptr() : dy.mutable_data_ptr();
    REQUIRE(fused::twins.rms_norm_backward(&job, nullptr) == 0);
    CHECK(same_bits(apart, plus ? side : dy));
  }
}

TEST_CASE("fused: the weight of a norm multiplies after the rounding, or before it") {
  const fused::TwinsOnCpu twins;
  Norm norm;
  norm.weight = (at::randn({2000}) + 1).to(at::kBFloat16);
  const at::Tensor x = at::randn({3, 2000}).to(at::kBFloat16);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt(wide.square().mean(-1, true) + norm.spec.eps);
  const auto unequal = [](const at::Tensor& a, const at::Tensor& b) {
    return (a != b).to(at::kDouble).mean().item<double>();
  };
  const at::Tensor late = fused::rms_norm(norm, x).normed;
  norm.spec.scale_before_cast = true;
  const at::Tensor early = fused::rms_norm(norm, x).normed;
  CHECK(unequal(late, scaled.to(at::kBFloat16) * norm.weight) < 0.01);
  CHECK(unequal(early, (scaled * norm.weight.to(at::kFloat)).to(at::kBFloat16)) < 0.01);
  CHECK(unequal(late, early) > 0.1);
}

TEST_CASE("fused: rows without whole packs have the values of rows with them") {
  const fused::TwinsOnCpu twins;
  Norm norm;
  norm.weight = at::randn({512});
  const at::Tensor wide = at::randn({3 * 512 + 1});
  const at::Tensor shifted = wide.narrow(0, 1, 3 * 512).view({3, 512});
  CHECK(relative(fused::rms_norm(norm, shifted).normed,
                 fused::rms_norm(norm, shifted.clone()).normed) < tolerance::kOperator);
}

TEST_CASE("fused: numbers are those of the libraries that the CPU uses") {
  // exp has the bits of our kernels; bfloat16 rounds as LibTorch rounds; tanh to the last places.
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits <= 0x42c80000U; bits += 4999) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  x.insert(x.end(), {NAN, INFINITY, -INFINITY, 200.0F, -200.0F, -103.9F});
  std::vector<float> y(x.size());
  kernels::exp_row(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  double worst = 0;
  std::int64_t other_bits = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float e = fused::exp_of(x[i]);
    other_bits += e == y[i] || (std::isnan(e) && std::isnan(y[i])) ? 0 : 1;
    const float small = x[i] / 16;
    if (std::isfinite(small) && small != 0) {
      const double tanh = std::tanh(static_cast<double>(small));
      worst = std::max(worst, std::abs(static_cast<double>(fused::tanh_of(small)) / tanh - 1));
    }
    const at::BFloat16 round(x[i]);
    other_bits += fused::narrow<fused::BFloat16>(x[i]).bits == round.x ? 0 : 1;
    other_bits += std::isnan(x[i]) == std::isnan(fused::widen(fused::BFloat16{round.x})) ? 0 : 1;
  }
  CHECK(other_bits == 0);
  CHECK(worst < 1e-6);
  CHECK(fused::narrow<fused::BFloat16>(1.00390625F).bits == 0x3f80);  // ties to even
  CHECK(fused::narrow<fused::BFloat16>(1.01171875F).bits == 0x3f82);
}

TEST_CASE("fused: the same bits for any number of threads, and the second time") {
  const fused::TwinsOnCpu twins;
  const auto all = [] {
    std::vector<at::Tensor> out;
    for (const auto& cases : {norm_cases(), rotate_cases(), swiglu_cases()}) {
      for (const FusedCase& each : cases) {
        const auto some = outcome(each.fused, each.inputs, at::kCPU);
        out.insert(out.end(), some.begin(), some.end());
      }
    }
    const CrossEntropyOutcome ce = outcome(cross_entropy_cases()[4], at::kCPU);
    out.insert(out.end(), {ce.losses, ce.gradient});
    return out;
  };
  const auto first = all();
  for (const int threads : {1, 3}) {
    parallel::set_threads(threads);
    init_runtime();
    const auto again = all();
    bool same = true;
    for (std::size_t i = 0; i < first.size(); ++i) same = same && same_bits(first[i], again[i]);
    CHECK(same);
  }
  parallel::set_threads(0);
  init_runtime();
}

TEST_CASE("fused: operators of a pass take the kernels where a device has them, and else do not") {
  const at::Tensor x = at::randn({2, 3, 32});
  CHECK_FALSE(fused::covers(x));
  CHECK(is_native(x));
  {
    const fused::TwinsOnCpu twins;
    CHECK(fused::covers(x));
    CHECK(fused::covers(x.to(at::kBFloat16)));
    CHECK_FALSE(fused::covers(x.to(at::kDouble)));
    CHECK_FALSE(is_native(x));
    Norm layer{{.kind = NormKind::kLayer}, at::ones({32}), at::zeros({32})};
    CHECK(relative(apply_norm(layer, x), at::layer_norm(x, {32})) < tolerance::kOperator);
    CHECK_THROWS_AS(fused::rms_norm(layer, x), Error);
    CHECK_THROWS_AS(fused::type_of(x.to(at::kDouble)), Error);
    // In bfloat16 the operators round in between, too, so that the two are told apart.
    const at::Tensor narrow = x.to(at::kBFloat16);
    CHECK(same_bits(apply_activation(Activation::kSilu, narrow, narrow).value,
                    fused::swiglu(narrow, narrow)));
    CHECK(relative(apply_activation(Activation::kGelu, x, x).value, at::gelu(x) * x) <
          tolerance::kOperator);
  }
  CHECK_FALSE(fused::covers(x));
  CHECK_THROWS_AS(fused::swiglu(x, x), Error);
}

TEST_CASE("fused: a launch that fails is an error that names the kernel") {
  fused::check_launch(0, "rotate");
  const std::string text = error_of([] { fused::check_launch(2, "rotate"); });
  CHECK(text.find("kernel rotate") != std::string::npos);
  try {
    fused::launch_on(at::kMeta, "rotate", [](void*) { return 0; });
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInternal);
  }
}
