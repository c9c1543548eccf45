#include "model/magnitude.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <torch/csrc/autograd/custom_function.h>

#include "model/intraop.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 16384;  ///< elements of one parallel chunk
constexpr std::int64_t kRows = 32;      ///< rows of a weight at a time

/// A A^T in float64 [rank, rank].
std::vector<double> gram_of(const float* a, std::int64_t rank, std::int64_t d_in) {
  std::vector<double> out(static_cast<std::size_t>(rank * rank));
  for (std::int64_t i = 0; i < rank; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < d_in; ++k)
        sum += static_cast<double>(a[i * d_in + k]) * static_cast<double>(a[j * d_in + k]);
      out[static_cast<std::size_t>(i * rank + j)] = out[static_cast<std::size_t>(j * rank + i)] =
          sum;
    }
  }
  return out;
}

/// A W^T, float32 [rank, d_out].
at::Tensor projected(const Linear& layer, const at::Tensor& a) {
  const Linear plain{layer.weight, {}, layer.layout, nullptr, layer.packed};
  if (layer.packed == nullptr && !layer.weight.is_cpu())
    return apply_composed(plain, a.to(layer.weight.device(), layer.weight.scalar_type()))
        .to(at::kCPU, at::kFloat)
        .contiguous();
  at::Tensor out = at::empty({a.size(0), layer.d_out()}, at::kFloat);
  const std::array<float*, 1> to{out.mutable_data_ptr<float>()};
  run_linears({&plain, 1}, a.const_data_ptr<float>(), a.size(0), to);
  return out;
}

struct ScaleRowsFunction : torch::autograd::Function<ScaleRowsFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& z,
                            const at::Tensor& magnitude, const at::Tensor& norms,
                            const float* plus) {
    const at::AutoDispatchBelowAutograd below;
    const at::Tensor factor = magnitude / norms;
    ctx->save_for_backward({z, factor, norms});
    at::Tensor y = at::empty_like(z);
    const auto* from = z.const_data_ptr<float>();
    const auto* by = factor.const_data_ptr<float>();
    auto* to = y.mutable_data_ptr<float>();
    const std::int64_t d = z.size(-1);
    intraop_chunks(z.numel() / d, kGrain / d + 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * d; i < end * d; i += d) {
        for (std::int64_t j = 0; j < d; ++j)
          to[i + j] = from[i + j] * by[j] + (plus != nullptr ? plus[j] : 0.0F);
      }
    });
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dz = at::empty_like(dy);
    const std::int64_t d = dy.size(-1);
    const std::int64_t rows = dy.numel() / d;
    at::Tensor dm = at::empty({d}, at::kFloat);
    const auto* z = saved[0].const_data_ptr<float>();
    const auto* by = saved[1].const_data_ptr<float>();
    const auto* norm = saved[2].const_data_ptr<float>();
    const auto* from = dy.const_data_ptr<float>();
    auto* to = dz.mutable_data_ptr<float>();
    auto* slope = dm.mutable_data_ptr<float>();
    // By columns, so that each sum over the rows is one thread's, in order.
    intraop_chunks(d, kGrain / rows + 16, [=](std::int64_t begin, std::int64_t end) {
      std::vector<double> sums(static_cast<std::size_t>(end - begin), 0.0);
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t at = r * d;
        for (std::int64_t j = begin; j < end; ++j) {
          to[at + j] = from[at + j] * by[j];
          sums[static_cast<std::size_t>(j - begin)] +=
              static_cast<double>(from[at + j]) * static_cast<double>(z[at + j]);
        }
      }
      for (std::int64_t j = begin; j < end; ++j)
        slope[j] = static_cast<float>(sums[static_cast<std::size_t>(j - begin)] /
                                      static_cast<double>(norm[j]));
    });
    return {dz, dm, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor weight_norms(const Linear& layer) {
  const at::NoGradGuard no_grad;
  const LowRank& part = *layer.low_rank;
  const at::Tensor a_tensor = part.all_a().contiguous(), b_tensor = part.all_b().contiguous();
  const std::int64_t rank = a_tensor.size(0), d_out = b_tensor.size(0);
  const at::Tensor projection = projected(layer, a_tensor);
  const std::vector<double> gram =
      gram_of(a_tensor.const_data_ptr<float>(), rank, a_tensor.size(1));
  at::Tensor out = at::empty({d_out}, at::kFloat);
  const auto* g = projection.const_data_ptr<float>();
  const auto* b = b_tensor.const_data_ptr<float>();
  const auto* base = part.base_norms.const_data_ptr<double>();
  auto* to = out.mutable_data_ptr<float>();
  const double scale = part.scale;
  intraop_chunks(d_out, kGrain / (rank * rank) + 1, [&, to](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      double cross = 0, square = 0;
      for (std::int64_t k = 0; k < rank; ++k) {
        const auto own = static_cast<double>(b[j * rank + k]);
        cross += own * static_cast<double>(g[k * d_out + j]);
        double row = 0;
        for (std::int64_t l = 0; l < rank; ++l)
          row +=
              gram[static_cast<std::size_t>(k * rank + l)] * static_cast<double>(b[j * rank + l]);
        square += own * row;
      }
      const double total = base[j] + 2 * scale * cross + scale * scale * square;
      to[j] = static_cast<float>(
          std::sqrt(std::max(total, static_cast<double>(std::numeric_limits<float>::min()))));
    }
  });
  return out;
}

at::Tensor scale_rows(const at::Tensor& z, const LowRank& part, const at::Tensor& norms,
                      const at::Tensor& bias) {
  if (!is_native(z)) {
    const at::Tensor factor = (part.magnitude / norms).to(z.device(), z.scalar_type());
    const at::Tensor y = z * factor;
    return bias.defined() ? y + bias : y;
  }
  const float* const plus = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  return ScaleRowsFunction::apply(z.contiguous(), part.magnitude, norms, plus);
}

at::Tensor squared_row_norms(const at::Tensor& weight) {
  const std::int64_t rows = weight.size(0);
  at::Tensor out = at::empty({rows}, at::kDouble);
  auto* to = out.mutable_data_ptr<double>();
  for (std::int64_t first = 0; first < rows; first += kRows) {
    const std::int64_t count = std::min(kRows, rows - first);
    const at::Tensor part = weight.narrow(0, first, count).to(at::kCPU, at::kFloat).contiguous();
    const auto* w = part.const_data_ptr<float>();
    const std::int64_t d = part.size(1);
    for (std::int64_t r = 0; r < count; ++r) {
      double sum = 0;
      for (std::int64_t i = r * d; i < (r + 1) * d; ++i)
        sum += static_cast<double>(w[i]) * static_cast<double>(w[i]);
      to[first + r] = sum;
    }
  }
  return out;
}

}  // namespace lancet
