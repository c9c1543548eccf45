// The fused operators, forward and backward, against compositions of LibTorch's own.

#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/parallel.h"
#include "model/attention.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/residual.h"
#include "model/rowwise.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

at::Tensor leaf(at::IntArrayRef shape) { return at::randn(shape).requires_grad_(true); }

/// Gradients of sum(f(inputs) * fixed noise) with respect to each input.
template <typename Function>
std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& inputs, const Function& f) {
  for (const at::Tensor& input : inputs) input.mutable_grad().reset();
  const at::Tensor out = f();
  const at::Tensor weights = at::arange(out.numel(), at::kFloat).mul(0.7).sin().view(out.sizes());
  (out * weights).sum().backward();
  std::vector<at::Tensor> grads;
  for (const at::Tensor& input : inputs) grads.push_back(input.grad().clone());
  return grads;
}

/// Both give the same values and gradients.
template <typename A, typename B>
void check_same(const std::vector<at::Tensor>& inputs, const A& fused, const B& composed) {
  CHECK(relative(fused().detach(), composed().detach()) < tolerance::kOperator);
  const auto mine = gradients(inputs, fused);
  const auto theirs = gradients(inputs, composed);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    INFO("input " << i);
    CHECK(relative(mine[i], theirs[i]) < 4 * tolerance::kOperator);
  }
  const at::NoGradGuard no_grad;
  CHECK(same_bits(fused(), fused()));
}

AttentionSpec attention_spec(std::int64_t heads, std::int64_t kv_heads, std::int64_t d_head) {
  AttentionSpec spec;
  spec.heads = heads;
  spec.kv_heads = kv_heads;
  spec.d_head = d_head;
  spec.scale = 1 / std::sqrt(static_cast<double>(d_head));
  return spec;
}

}  // namespace

TEST_CASE(
    "linear: values and input gradients equal at::linear's, in both layouts, with and without "
    "bias") {
  for (const MatrixLayout layout : {MatrixLayout::kOutIn, MatrixLayout::kInOut}) {
    for (const bool biased : {false, true}) {
      for (const std::int64_t rows : {1, 5, 130}) {
        const at::Tensor w = at::randn({37, 21});
        const at::Tensor bias = biased ? at::randn({37}) : at::Tensor();
        const at::Tensor stored = layout == MatrixLayout::kOutIn ? w : w.t().contiguous();
        const Linear layer{stored, bias, layout};
        const at::Tensor x = leaf({2, rows, 21});
        check_same(
            {x}, [&] { return apply_linear(layer, x); },
            [&] { return at::linear(x, w, biased ? std::optional(bias) : std::nullopt); });
      }
    }
  }
}

TEST_CASE(
    "linear: several layers over one input add their gradients; an unused output has no part") {
  const at::Tensor a = at::randn({12, 16});
  const at::Tensor b = at::randn({8, 16});
  const std::vector<Linear> layers{{a, {}, MatrixLayout::kOutIn}, {b, {}, MatrixLayout::kOutIn}};
  const at::Tensor x = leaf({3, 16});
  check_same(
      {x},
      [&] {
        const auto y = apply_linears(layers, x);
        return at::cat({y[0], y[1]}, 1);
      },
      [&] {
        return at::cat({at::linear(x, a), at::linear(x, b)}, 1);
      });
  check_same(
      {x}, [&] { return apply_linears(layers, x)[1]; }, [&] { return at::linear(x, b); });
}

TEST_CASE("linear: bf16 weights are widened exactly") {
  const at::Tensor w = at::randn({40, 24}).to(at::kBFloat16);
  const at::Tensor x = at::randn({7, 24});
  CHECK(relative(apply_linear({w, {}, MatrixLayout::kOutIn}, x), at::linear(x, w.to(at::kFloat))) <
        tolerance::kOperator);
}

TEST_CASE("norm: RMS norm and its gradient equal the formula by operators") {
  Norm norm;
  norm.spec.eps = 1e-5;
  norm.weight = at::randn({50});
  const at::Tensor x = leaf({3, 4, 50});
  check_same(
      {x}, [&] { return apply_norm(norm, x); },
      [&] { return norm.weight * (x * at::rsqrt(x.square().mean(-1, true) + 1e-5)); });
}

TEST_CASE("residual: a stream that goes on beside its norm has the gradients of both") {
  Norm norm;
  norm.spec.eps = 1e-5;
  norm.weight = at::randn({50});
  const at::Tensor x = leaf({3, 4, 50}), y = leaf({3, 4, 50});
  const auto formula = [&](const at::Tensor& s) {
    return norm.weight * (s * at::rsqrt(s.square().mean(-1, true) + 1e-5));
  };
  check_same(
      {x, y},
      [&] {
        const Branch branch = branch_off(norm, add_to_stream(x, y));
        return add_to_stream(branch.stream, branch.normed.value.sin());
      },
      [&] { return x + y + formula(x + y).sin(); });
  // Only one of the two is used.
  check_same(
      {x}, [&] { return branch_off(norm, x).stream.sin(); }, [&] { return x.sin(); });
  check_same(
      {x}, [&] { return branch_off(norm, x).normed.value; }, [&] { return formula(x); });
}

TEST_CASE("mlp: silu(gate) * up and its gradients equal LibTorch's, far from zero too") {
  const at::Tensor gate = (at::randn({6, 300}) * 12).requires_grad_(true);
  const at::Tensor up = leaf({6, 300});
  check_same(
      {gate, up}, [&] { return apply_activation(Activation::kSilu, gate, up).value; },
      [&] { return at::silu(gate) * up; });
}

TEST_CASE("mlp: every activation is the function of its name") {
  const at::Tensor x = at::randn({200}) * 3;
  const at::Tensor none;
  CHECK(relative(apply_activation(Activation::kGelu, x, none).value,
                 0.5 * x * (1 + at::erf(x / std::sqrt(2.0)))) < 1e-6);
  const at::Tensor inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  CHECK(relative(apply_activation(Activation::kGeluTanh, x, none).value,
                 0.5 * x * (1 + inner.tanh())) < 1e-6);
  CHECK(relative(apply_activation(Activation::kRelu2, x, none).value, x.clamp_min(0).square()) <
        1e-6);
  CHECK(same_bits(apply_activation(Activation::kRelu, x, none).value, x.clamp_min(0)));
}

TEST_CASE("mlp: GELU and its gradient have the same bits for any threads and rows beside them") {
  for (const Activation kind : {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu}) {
    for (const std::int64_t width : {100, 3072}) {  // LibTorch takes its threads from 25,600 on
      const at::Tensor x = at::randn({331, width}).requires_grad_(true);
      const auto both = [&](int threads) {
        parallel::set_threads(threads);
        init_runtime();
        at::Tensor value;
        {
          const at::NoGradGuard none;
          value = apply_activation(kind, x, {}).value;
        }
        const bool fixed = kind != Activation::kQuickGelu;  // whose gradient is LibTorch's
        const auto d =
            fixed ? gradients({x}, [&] { return apply_activation(kind, x, {}).value; })[0] : value;
        parallel::set_threads(0);
        init_runtime();
        return std::pair(value, d);
      };
      const auto [value, d] = both(1);
      const auto [value_of_seven, d_of_seven] = both(7);
      CHECK(same_bits(value, value_of_seven));
      CHECK(same_bits(d, d_of_seven));
      const at::NoGradGuard none;
      const at::Tensor row = x.detach().narrow(0, 17, 1).contiguous();
      CHECK(same_bits(apply_activation(kind, row, {}).value, value.narrow(0, 17, 1)));
    }
  }
  const at::Tensor x = leaf({6, 300});
  for (const char* form : {"none", "tanh"}) {
    const Activation kind = form[0] == 'n' ? Activation::kGelu : Activation::kGeluTanh;
    check_same(
        {x}, [&] { return apply_activation(kind, x, {}).value; },
        [&] { return at::gelu(x, form); });
  }
}

TEST_CASE("attention: our kernels and LibTorch's operators agree, forward and backward") {
  struct Case {
    std::int64_t heads, kv_heads, d_head, tokens, window;
    RopeKind rope;
    bool interleaved;
    std::int64_t dims;
    std::vector<std::int64_t> starts;
  };
  const std::vector<Case> cases{
      {9, 3, 16, 12, 0, RopeKind::kDefault, false, 16, {0, 0}},
      {4, 4, 8, 1, 0, RopeKind::kDefault, false, 8, {6, 2}},
      {8, 2, 8, 5, 0, RopeKind::kDefault, false, 8, {0, 19}},
      {6, 1, 12, 40, 0, RopeKind::kDefault, true, 12, {3, 0}},
      {4, 2, 16, 33, 7, RopeKind::kDefault, false, 8, {11, 30}},
      {4, 2, 16, 1, 4, RopeKind::kDefault, false, 16, {11, 1}},
      {4, 2, 16, 150, 0, RopeKind::kNone, false, 0, {0, 64}},
  };
  for (const Case& c : cases) {
    INFO("heads " << c.heads << " tokens " << c.tokens << " window " << c.window);
    const AttentionSpec spec = attention_spec(c.heads, c.kv_heads, c.d_head);
    RopeSpec rope;
    rope.kind = c.rope;
    rope.dims = c.dims;
    rope.interleaved = c.interleaved;
    AttentionPass pass;
    pass.spec = &spec;
    pass.rope = &rope;
    pass.window = c.window;
    pass.starts = c.starts;
    pass.table_rows = {c.starts[0] + 9, c.starts[1]};  // two texts of other frequencies
    if (c.rope != RopeKind::kNone) pass.table = RopeCache(rope, 512).table(256, 256, at::kCPU);
    pass.prefix_keys = at::randn({2, c.kv_heads, 70, c.d_head});
    pass.prefix_values = at::randn({2, c.kv_heads, 70, c.d_head});
    const at::Tensor q = leaf({2, c.tokens, c.heads * c.d_head});
    const at::Tensor k = leaf({2, c.tokens, c.kv_heads * c.d_head});
    const at::Tensor v = leaf({2, c.tokens, c.kv_heads * c.d_head});
    check_same(
        {q, k, v}, [&] { return attend_native(q, k, v, pass); },
        [&] { return attend_composed(q, k, v, pass); });
  }
}

TEST_CASE("attention: operators without a mask, where a window holds all keys, agree as well") {
  const AttentionSpec spec = attention_spec(4, 2, 8);
  const RopeSpec rope{.kind = RopeKind::kNone};
  AttentionPass pass;
  pass.spec = &spec;
  pass.rope = &rope;
  pass.starts = {0, 0};
  const at::Tensor q = leaf({2, 9, 32}), k = leaf({2, 9, 16}), v = leaf({2, 9, 16});
  for (const std::int64_t window : {0, 8, 9, 20}) {
    for (const std::int64_t chunk : {0, 4, 9}) {
      INFO("window " << window << ", chunk " << chunk);
      pass.window = window;
      pass.chunk = chunk;
      check_same(
          {q, k, v}, [&] { return attend_native(q, k, v, pass); },
          [&] { return attend_composed(q, k, v, pass); });
    }
  }
}

TEST_CASE("attention: a softcap bends the scores as cap * tanh(s / cap)") {
  AttentionSpec spec = attention_spec(2, 1, 8);
  const RopeSpec rope{.kind = RopeKind::kNone};
  AttentionPass pass;
  pass.spec = &spec;
  pass.rope = &rope;
  pass.starts = {0};
  const at::Tensor q = at::randn({1, 5, 16}) * 4;
  const at::Tensor k = at::randn({1, 5, 8}) * 4;
  const at::Tensor v = at::randn({1, 5, 8});
  spec.softcap = 1e6;
  const at::Tensor loose = attend(q, k, v, pass);
  spec.softcap = 2;
  const at::Tensor capped = attend(q, k, v, pass);
  spec.softcap = 0;
  CHECK(relative(loose, attend(q, k, v, pass)) < 1e-3);
  // By hand: the last query of head 0.
  const at::Tensor raw = at::mv(k[0], q[0][4].slice(0, 0, 8)) * spec.scale;
  const at::Tensor p = at::softmax((raw / 2).tanh() * 2, 0);
  CHECK(relative(capped[0][4].slice(0, 0, 8), at::mv(v[0].t(), p)) < tolerance::kOperator);
}

TEST_CASE("rowwise: arg_max takes the first of equals, and count_above counts strictly") {
  std::vector<float> row(100, 1.0F);
  row[37] = row[61] = 2.0F;
  CHECK(rowwise::arg_max(row.data(), 100) == 37);
  CHECK(rowwise::count_above(row.data(), 1.0F, 100) == 2);
  CHECK(rowwise::count_above(row.data(), 2.0F, 100) == 0);
  row[99] = 3.0F;
  CHECK(rowwise::arg_max(row.data(), 100) == 99);
  row[5] = NAN;
  CHECK(rowwise::arg_max(row.data(), 100) == 99);
}
