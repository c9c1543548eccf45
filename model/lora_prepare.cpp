// What an adapter takes from the values of its base.

#include <cmath>
#include <unordered_map>

#include <ATen/core/grad_mode.h>

#include "core/interrupt.h"
#include "core/rng.h"
#include "model/buffer_pool.h"
#include "model/decoder.h"
#include "model/lora.h"
#include "model/magnitude.h"

namespace lancet {
namespace {

struct Factors {
  at::Tensor a, b;
};

at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, const std::string& name,
                         std::uint64_t seed) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  Random(seed, "pissa " + name)
      .fill_normal(0, {out.mutable_data_ptr<float>(), static_cast<std::size_t>(out.numel())});
  return out;
}

struct Decomposition {
  at::Tensor u, s, vh;  ///< [d_out, rank], [rank], [rank, d_in]
};

/// The largest singular values; approximately, by a random projection (Halko et al. 2011,
/// algorithms 4.4 and 5.1) where iterations > 0.
Decomposition largest_singular(const at::Tensor& w, std::int64_t rank, std::int64_t iterations,
                               const std::string& name, std::uint64_t seed) {
  const auto first = [rank](const auto& svd) {
    return Decomposition{std::get<0>(svd).narrow(1, 0, rank), std::get<1>(svd).narrow(0, 0, rank),
                         std::get<2>(svd).narrow(0, 0, rank)};
  };
  if (iterations == 0) return first(at::linalg_svd(w, false));
  const auto basis = [](const at::Tensor& x) { return std::get<0>(at::linalg_qr(x)); };
  at::Tensor q = basis(w.matmul(random_matrix(w.size(1), rank, name, seed)));
  for (std::int64_t i = 0; i < iterations; ++i) {
    check_interrupted();
    q = basis(w.matmul(basis(w.t().matmul(q))));
  }
  Decomposition out = first(at::linalg_svd(q.t().matmul(w), false));
  out.u = q.matmul(out.u);
  return out;
}

/// scale B A is W's best approximation of this rank.
Factors pissa(const at::Tensor& w, const LowRank& part, std::int64_t iterations) {
  const Decomposition d = largest_singular(w, part.a.size(0), iterations, part.module, part.seed);
  const at::Tensor root = (d.s / part.scale).sqrt();
  return {root.unsqueeze(1) * d.vh, d.u * root};
}

/// B A is the first `rank` steps of W = Q R.
Factors olora(const at::Tensor& w, const LowRank& part) {
  const auto [q, r] = at::linalg_qr(w);
  const std::int64_t rank = part.a.size(0);
  return {r.narrow(0, 0, rank).contiguous(), q.narrow(1, 0, rank).contiguous()};
}

/// The base's matrix as [d_out, d_in], float32.
at::Tensor matrix_of(const Decoder& base, const LowRank& part) {
  const at::Tensor stored = base.matrix(part.tensor);
  return part.layout == MatrixLayout::kOutIn ? stored : stored.t();
}

}  // namespace

void LoraAdapter::prepare(const Decoder& base) {
  const at::NoGradGuard no_grad;
  const BuffersKept kept;  // matrices of 16 bits are widened one after the other
  for (const auto& part : parts_) {
    check_interrupted();
    if (part->magnitude.defined()) {
      part->base_norms = squared_row_norms(matrix_of(base, *part));
      if (!stored_) part->magnitude.copy_(part->base_norms.sqrt());
    }
    if (!decomposed()) continue;
    const at::Tensor w = matrix_of(base, *part);
    const Factors factors =
        init_ == LoraInit::kPissa ? pissa(w, *part, pissa_iterations_) : olora(w, *part);
    part->a.copy_(factors.a);
    part->b.copy_(factors.b);
    part->a0 = part->a.detach().clone();
    part->b0 = part->b.detach().clone();
  }
}

}  // namespace lancet
