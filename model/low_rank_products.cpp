// Where many rows share a weight and nothing is dropped, the product is taken with W + scale B A,
// made anew for each pass: rank / rows of the work, and neither outputs nor input gradients are
// read and written once more. With h = drop(x) A^T and g = scale dy B:
//   dA = g^T drop(x),  dB = scale dy^T h,  dx = dy W + mask * (g A)  (or dy (W + scale B A)).

#include "model/low_rank_products.h"

#include <algorithm>
#include <array>
#include <utility>

#include <ATen/ATen.h>

#include "model/intraop.h"
#include "model/linear_adapted.h"
#include "model/lora.h"
#include "model/products.h"

namespace lancet {
namespace {

constexpr std::int64_t kMergeShare = 3;  ///< between the 2 of arithmetic and the 4 of memory
constexpr std::int64_t kGrain = 16384;   ///< elements of one parallel chunk

at::Tensor empty(std::int64_t rows, std::int64_t columns) {
  return at::empty({rows, columns}, at::kFloat);
}

/// Whether a merged weight pays. Making it twice reads and writes four times the matrix, what it
/// spares is outputs and input gradients that are read and written once more. One that is
/// multiplied in pairs would lose what training adds to it by being rounded; one of 16 bits on
/// tiles is faster as it is.
bool merges(const Linear& layer, std::int64_t rows) {
  if (!is_adapted(layer) || layer.packed != nullptr || layer.low_rank->drops() ||
      layer.rows == RowForm::kRounded ||
      (layer.rows == RowForm::kTerms && layer.weight.scalar_type() != at::kFloat))
    return false;
  const std::int64_t in = layer.d_in(), out = layer.d_out();
  return rows * (in + out) >= kMergeShare * in * out;
}

/// The layer with weight W + scale B A, float32.
Linear merged(const Linear& layer) {
  const LowRank& part = *layer.low_rank;
  const at::Tensor weight = empty(layer.weight.size(0), layer.weight.size(1));
  auto* to = weight.mutable_data_ptr<float>();
  intraop_chunks(weight.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    widen(layer.weight, begin, end - begin, to + begin);
  });
  const bool out_in = layer.layout == MatrixLayout::kOutIn;
  const at::Tensor left = out_in ? scaled(part.all_b(), part.scale) : turned(part.all_a());
  const at::Tensor right = out_in ? part.all_a() : turned(part.all_b(), part.scale);
  const std::array products{times(left.const_data_ptr<float>(), left.size(0), right, to, true)};
  run_products(products);
  return {weight, layer.bias, layer.layout, nullptr, {}, layer.rows};
}

/// Which layers take part with which weight in products over `rows` rows.
std::vector<Linear> effective(std::span<const Linear> layers, std::int64_t rows) {
  std::vector<Linear> out;
  for (const Linear& layer : layers) out.push_back(merges(layer, rows) ? merged(layer) : layer);
  return out;
}

/// drop(x) of x [rows, d_in].
at::Tensor dropped(const LowRank& part, const at::Tensor& x) {
  return part.drops() ? x * dropout_mask(part, x.size(0)) : x;
}

/// Columns [first, first + count) of x [rows, columns].
at::Tensor columns_of(const at::Tensor& x, std::int64_t first, std::int64_t count) {
  const std::int64_t rows = x.size(0), width = x.size(1);
  at::Tensor out = empty(rows, count);
  const auto* from = x.const_data_ptr<float>() + first;
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t r = 0; r < rows; ++r) std::copy_n(from + r * width, count, to + r * count);
  return out;
}

/// Matrices of the same width one below the other; of one, itself.
at::Tensor stacked(const std::vector<at::Tensor>& parts) {
  if (parts.size() == 1) return parts[0];
  std::int64_t rows = 0;
  for (const at::Tensor& each : parts) rows += each.size(0);
  at::Tensor out = empty(rows, parts[0].size(1));
  auto* to = out.mutable_data_ptr<float>();
  for (const at::Tensor& each : parts)
    to = std::copy_n(each.const_data_ptr<float>(), each.numel(), to);
  return out;
}

/// Layers that multiply the same input by their A; one product does it for all.
using Together = std::vector<std::size_t>;

/// drop(x) A^T of layers `which`, into h.
void project(std::span<const Linear> layers, const Together& which, const at::Tensor& input,
             std::vector<at::Tensor>& h) {
  std::vector<at::Tensor> factors;
  for (const std::size_t i : which) factors.push_back(layers[i].low_rank->all_a());
  const at::Tensor a = stacked(factors);
  const at::Tensor all = empty(input.size(0), a.size(0));
  const std::array products{times_transposed(input.const_data_ptr<float>(), input.size(0), a,
                                             all.mutable_data_ptr<float>())};
  run_products(products);
  std::int64_t first = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const std::int64_t rank = factors[k].size(0);
    h[which[k]] = which.size() == 1 ? all : columns_of(all, first, rank);
    first += rank;
  }
}

/// Those of `layers` that `wanted` names, in groups with the same input: drop(x) is each layer's
/// own.
template <class Wanted>
std::vector<Together> grouped(std::span<const Linear> layers, const Wanted& wanted) {
  std::vector<Together> out;
  Together plain;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!is_adapted(layers[i]) || !wanted(i)) continue;
    if (layers[i].low_rank->drops()) {
      out.push_back({i});
    } else {
      plain.push_back(i);
    }
  }
  if (!plain.empty()) out.push_back(std::move(plain));
  return out;
}

/// g = scale dy B of one layer; adds to dx what passes through the factors where the weight is not
/// merged (dx undefined: it is, or nobody asks for it).
at::Tensor through_factors(const LowRank& part, const at::Tensor& dy, const at::Tensor& dx) {
  const std::int64_t rows = dy.size(0);
  const at::Tensor b = scaled(part.all_b(), part.scale);
  at::Tensor g = empty(rows, b.size(1));
  std::array products{times(dy.const_data_ptr<float>(), rows, b, g.mutable_data_ptr<float>())};
  run_products(products);
  if (!dx.defined()) return g;
  const bool drops = part.drops();
  const at::Tensor a = part.all_a();
  const at::Tensor through = drops ? at::empty_like(dx) : dx;
  products[0] =
      times(g.const_data_ptr<float>(), rows, a, through.mutable_data_ptr<float>(), !drops);
  run_products(products);
  if (drops) dx.add_(through.mul_(dropout_mask(part, rows)));
  return g;
}

/// The first `rank` columns of g, turned, times `scale`: what is taken off (a0, b0) stands behind
/// them and learns nothing.
at::Tensor learning_rows(const LowRank& part, const at::Tensor& g, double scale = 1) {
  return turned(g, scale).narrow(0, 0, part.a.size(0));
}

/// Gradients of the factors of layers `which`, that have the same input: one product reads it.
void add_gradients(std::span<const Linear> layers, const Together& which, const at::Tensor& input,
                   std::span<const at::Tensor> g, std::span<const at::Tensor> h,
                   std::span<const at::Tensor> dy, std::span<FactorGradients> out) {
  std::vector<at::Tensor> slopes, turned_h;
  std::vector<Product> products;
  for (const std::size_t i : which) {
    const LowRank& part = *layers[i].low_rank;
    slopes.push_back(learning_rows(part, g[i]));
    turned_h.push_back(learning_rows(part, h[i], part.scale));
    out[i].db = empty(part.a.size(0), dy[i].size(1));
    products.push_back(times(turned_h.back().const_data_ptr<float>(), part.a.size(0), dy[i],
                             out[i].db.mutable_data_ptr<float>()));
  }
  const at::Tensor all_slopes = stacked(slopes);
  const at::Tensor da = empty(all_slopes.size(0), input.size(1));
  products.push_back(
      times(all_slopes.const_data_ptr<float>(), da.size(0), input, da.mutable_data_ptr<float>()));
  run_products(products);
  std::int64_t first = 0;
  for (const std::size_t i : which) {
    const std::int64_t rank = layers[i].low_rank->a.size(0);
    out[i] = {da.narrow(0, first, rank), turned(out[i].db)};
    first += rank;
  }
}

}  // namespace

at::Tensor turned(const at::Tensor& x, double scale) {
  const std::int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor out = empty(columns, rows);
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto by = static_cast<float>(scale);
  intraop_chunks(rows, kGrain / columns + 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = begin; r < end; ++r) to[c * rows + r] = from[r * columns + c] * by;
    }
  });
  return out;
}

at::Tensor scaled(const at::Tensor& x, double scale) {
  at::Tensor out = empty(x.size(0), x.size(1));
  const auto* from = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  const auto by = static_cast<float>(scale);
  for (std::int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] * by;
  return out;
}

LowRankForward low_rank_forward(std::span<const Linear> layers, const at::Tensor& x, bool keep) {
  const std::int64_t rows = x.size(0);
  LowRankForward out;
  std::vector<float*> pointers;
  for (const Linear& layer : layers) {
    out.y.push_back(empty(rows, layer.d_out()));
    pointers.push_back(out.y.back().mutable_data_ptr<float>());
  }
  run_linears(effective(layers, rows), x.const_data_ptr<float>(), rows, pointers);
  out.h.resize(layers.size());
  const auto beside = [&](std::size_t i) { return !merges(layers[i], rows); };
  for (const Together& which : grouped(layers, [&](std::size_t i) { return keep || beside(i); }))
    project(layers, which, dropped(*layers[which[0]].low_rank, x), out.h);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!is_adapted(layers[i]) || !beside(i)) continue;
    const LowRank& part = *layers[i].low_rank;
    const at::Tensor b = turned(part.all_b(), part.scale);
    const std::array products{times(out.h[i].const_data_ptr<float>(), rows, b, pointers[i], true)};
    run_products(products);
  }
  return out;
}

std::vector<FactorGradients> low_rank_backward(std::span<const Linear> layers, const at::Tensor& x,
                                               std::span<const at::Tensor> h,
                                               std::span<const at::Tensor> dy,
                                               const at::Tensor& dx) {
  const std::int64_t rows = x.size(0);
  const bool any = std::ranges::any_of(dy, [](const at::Tensor& each) { return each.defined(); });
  std::vector<FactorGradients> out(layers.size());
  if (!any) return out;
  if (dx.defined()) {
    std::vector<const float*> pointers;
    for (const at::Tensor& each : dy)
      pointers.push_back(each.defined() ? each.const_data_ptr<float>() : nullptr);
    run_linears_backward(effective(layers, rows), pointers, rows, dx.mutable_data_ptr<float>());
  }
  std::vector<at::Tensor> g(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!is_adapted(layers[i]) || !dy[i].defined()) continue;
    const bool through = dx.defined() && !merges(layers[i], rows);
    g[i] = through_factors(*layers[i].low_rank, dy[i], through ? dx : at::Tensor());
  }
  for (const Together& which : grouped(layers, [&](std::size_t i) { return dy[i].defined(); }))
    add_gradients(layers, which, dropped(*layers[which[0]].low_rank, x), g, h, dy, out);
  return out;
}

}  // namespace lancet
