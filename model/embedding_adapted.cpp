#include "model/embedding_adapted.h"

#include <array>

#include <torch/csrc/autograd/custom_function.h>

#include "model/intraop.h"
#include "model/lora.h"
#include "model/low_rank_products.h"
#include "model/magnitude.h"
#include "model/products.h"

namespace lancet {
namespace {

struct Kept : torch::CustomClassHolder {
  std::shared_ptr<const LowRank> part;
};

/// Column ids[i] of A [rank, vocab] as row i: [n, rank].
at::Tensor columns_of(const at::Tensor& a, const at::Tensor& ids) {
  const std::int64_t rank = a.size(0), vocab = a.size(1), n = ids.numel();
  at::Tensor out = at::empty({n, rank}, at::kFloat);
  const auto* from = a.const_data_ptr<float>();
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < rank; ++k) to[i * rank + k] = from[k * vocab + id[i]];
  }
  return out;
}

/// With h = A^T[ids] and g = scale dy B: y = rows + scale h B^T, dA[:, ids] += g^T,
/// dB = scale dy^T h.
struct EmbeddedFunction : torch::autograd::Function<EmbeddedFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& rows,
                            const at::Tensor& ids, std::shared_ptr<const LowRank> part,
                            const at::Tensor& a, const at::Tensor& b) {
    const at::AutoDispatchBelowAutograd below;
    const std::int64_t n = ids.numel();
    at::Tensor y = rows.clone();
    const at::Tensor h = columns_of(a.contiguous(), ids);
    const at::Tensor turned_b = turned(b.contiguous(), part->scale);
    const std::array products{
        times(h.const_data_ptr<float>(), n, turned_b, y.mutable_data_ptr<float>(), true)};
    run_products(products);
    ctx->save_for_backward({ids, h});
    auto kept = c10::make_intrusive<Kept>();
    kept->part = std::move(part);
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["kept"].toCapsule();
    const LowRank& part = *static_cast<const Kept&>(*capsule).part;
    const at::Tensor& ids = saved[0];
    const std::int64_t n = ids.numel(), rank = part.a.size(0), vocab = part.a.size(1);
    const at::Tensor dy = grads[0].contiguous().view({n, -1});
    const at::Tensor b = scaled(part.b.detach().contiguous(), part.scale);
    const at::Tensor g = at::empty({n, rank}, at::kFloat);
    const at::Tensor h = turned(saved[1], part.scale);
    const at::Tensor db = at::empty({rank, dy.size(1)}, at::kFloat);
    const std::array products{
        times(dy.const_data_ptr<float>(), n, b, g.mutable_data_ptr<float>()),
        times(h.const_data_ptr<float>(), rank, dy, db.mutable_data_ptr<float>())};
    run_products(products);
    at::Tensor da = at::zeros({rank, vocab}, at::kFloat);
    const auto* id = ids.const_data_ptr<std::int64_t>();
    const auto* slope = g.const_data_ptr<float>();
    auto* to = da.mutable_data_ptr<float>();
    // A token that comes often is summed by one thread, in order.
    intraop_for(rank, [=](std::int64_t k) {
      for (std::int64_t i = 0; i < n; ++i) to[k * vocab + id[i]] += slope[i * rank + k];
    });
    return {at::Tensor(), at::Tensor(), at::Tensor(), da, turned(db)};
  }
};

}  // namespace

at::Tensor adapt_embedded(const Linear& table, const at::Tensor& rows, const at::Tensor& ids) {
  const LowRank& part = *table.low_rank;
  at::Tensor y;
  if (is_native(rows)) {
    y = EmbeddedFunction::apply(rows, ids, table.low_rank, part.a, part.b);
  } else {
    const auto there = [&](const at::Tensor& factor) {
      return factor.to(rows.device(), rows.scalar_type());
    };
    const at::Tensor h = at::embedding(there(part.a).t(), ids.to(rows.device()));
    y = rows + at::linear(h, there(part.b)) * part.scale;
  }
  return part.magnitude.defined() ? scale_rows(y, part, weight_norms(table), {}) : y;
}

}  // namespace lancet
