// With x [rows, d_in], A of all layers one below the other and D the mask of dropout:
//   h = (D x) A^T,  y_i = x W_i^T + bias;  y_i += scale_i h_i B_i^T
//   g_i = scale_i dy_i B_i,  dx = sum_i dy_i W_i + D (g A),  dA = g^T (D x),  dB_i = scale_i dy_i^T
//   h_i
// A layer with dropout has an input of its own and is a group by itself.

#include "model/linear_grouped.h"

#include <utility>

#include <torch/csrc/autograd/custom_function.h>

#include "core/interrupt.h"
#include "model/linear_adapted.h"
#include "model/lora.h"

namespace lancet {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Layers whose A multiply the same input.
struct Group {
  std::vector<std::size_t> layers;
  std::vector<std::int64_t> ranks;  ///< of each: columns of h
  at::Tensor a;                     ///< [sum of ranks, d_in], as x
  std::vector<at::Tensor> b;        ///< [d_out, rank] of each, as x
  at::Tensor mask;                  ///< as x, or undefined

  [[nodiscard]] at::Tensor input(const at::Tensor& x) const {
    return mask.defined() ? x * mask : x;
  }
};

at::Tensor like(const at::Tensor& x, const at::Tensor& factor) {
  return factor.to(x.device(), x.scalar_type());
}

Group group_of(std::span<const Linear> layers, std::vector<std::size_t> which,
               const at::Tensor& x) {
  Group out{.layers = std::move(which), .ranks = {}, .a = {}, .b = {}, .mask = {}};
  std::vector<at::Tensor> factors;
  for (const std::size_t i : out.layers) {
    factors.push_back(layers[i].low_rank->all_a());
    out.ranks.push_back(factors.back().size(0));
    out.b.push_back(like(x, layers[i].low_rank->all_b()));
  }
  out.a = like(x, factors.size() == 1 ? factors[0] : at::cat(factors));
  const LowRank& first = *layers[out.layers[0]].low_rank;
  if (first.drops()) out.mask = like(x, dropout_mask(first, x.size(0)));
  return out;
}

std::vector<Group> groups_of(std::span<const Linear> layers, const at::Tensor& x) {
  std::vector<Group> out;
  std::vector<std::size_t> plain;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!is_adapted(layers[i])) continue;
    if (layers[i].low_rank->drops()) {
      out.push_back(group_of(layers, {i}, x));
    } else {
      plain.push_back(i);
    }
  }
  if (!plain.empty()) out.push_back(group_of(layers, std::move(plain), x));
  return out;
}

/// [out, in].
at::Tensor matrix_of(const Linear& layer) {
  return layer.layout == MatrixLayout::kOutIn ? layer.weight : layer.weight.t();
}

struct Forward {
  std::vector<at::Tensor> y;  ///< [rows, d_out]
  std::vector<at::Tensor> h;  ///< of each group
};

Forward forward_of(std::span<const Linear> layers, std::span<const Group> groups,
                   const at::Tensor& x) {
  Forward out;
  for (const Linear& layer : layers) out.y.push_back(apply_composed(layer, x));
  for (const Group& group : groups) {
    out.h.push_back(at::mm(group.input(x), group.a.t()));
    const auto parts = out.h.back().split_with_sizes(group.ranks, 1);
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const LowRank& part = *layers[group.layers[k]].low_rank;
      out.y[group.layers[k]].addmm_(parts[k], group.b[k].t(), 1, part.scale);
    }
  }
  return out;
}

struct Kept : torch::CustomClassHolder {
  Kept(std::vector<Linear> all, KeptInput in) : layers(std::move(all)), input(std::move(in)) {}
  std::vector<Linear> layers;
  std::vector<Group> groups;
  KeptInput input;
};

/// sum_i dy_i W_i, [rows, d_in].
at::Tensor through_bases(std::span<const Linear> layers, std::span<const at::Tensor> dy) {
  at::Tensor dx;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!dy[i].defined()) continue;
    if (dx.defined()) {
      dx.addmm_(dy[i], matrix_of(layers[i]));
    } else {
      dx = at::mm(dy[i], matrix_of(layers[i]));
    }
  }
  return dx;
}

/// g of all layers of a group side by side; zero where an output was not used.
at::Tensor slopes_of(std::span<const Linear> layers, const Group& group, const at::Tensor& h,
                     std::span<const at::Tensor> dy) {
  at::Tensor g = at::empty_like(h);
  const auto parts = g.split_with_sizes(group.ranks, 1);
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const std::size_t i = group.layers[k];
    const at::Tensor& part = parts[k];
    if (!dy[i].defined()) {
      part.zero_();
      continue;
    }
    part.addmm_(dy[i], group.b[k], 0, layers[i].low_rank->scale);
  }
  return g;
}

struct Gradients {
  at::Tensor dx;
  std::vector<at::Tensor> da, db;  ///< of each layer; undefined where it has none
};

/// What a group adds. `dx` undefined: nobody asks for it.
void add_group(std::span<const Linear> layers, const Group& group, const at::Tensor& x,
               const at::Tensor& h, std::span<const at::Tensor> dy, Gradients& out) {
  const at::Tensor g = slopes_of(layers, group, h, dy);
  if (out.dx.defined() && group.mask.defined()) {
    out.dx.addcmul_(at::mm(g, group.a), group.mask);
  } else if (out.dx.defined()) {
    out.dx.addmm_(g, group.a);
  }
  const at::Tensor da = at::mm(g.t(), group.input(x));
  std::int64_t first = 0;
  for (std::size_t k = 0; k < group.layers.size(); ++k) {
    const std::size_t i = group.layers[k];
    const LowRank& part = *layers[i].low_rank;
    const std::int64_t rank = part.a.size(0);  // a0 and b0 stand behind and learn nothing
    if (dy[i].defined()) {
      out.da[i] = da.narrow(0, first, rank).to(part.a.options());
      const at::Tensor db = at::mm(dy[i].t(), h.narrow(1, first, rank));
      out.db[i] = db.to(part.b.options()).mul_(part.scale);
    }
    first += group.ranks[k];
  }
}

std::vector<std::int64_t> with_last(const at::Tensor& x, std::int64_t last) {
  auto shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

variable_list shaped(std::vector<at::Tensor> y, const at::Tensor& x) {
  for (at::Tensor& each : y) each = each.view(with_last(x, each.size(-1)));
  return y;
}

/// Inputs: x, the layers, A and B of each adapted layer in order.
struct GroupedFunction : torch::autograd::Function<GroupedFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x,
                               const std::vector<Linear>& layers, const Derived& from,
                               at::TensorList) {
    const at::AutoDispatchBelowAutograd below;
    const at::Tensor rows = x.view({-1, x.size(-1)});
    auto kept = c10::make_intrusive<Kept>(layers, KeptInput(from));
    kept->groups = groups_of(layers, rows);
    Forward out = forward_of(layers, kept->groups, rows);
    variable_list saved = kept->input.to_save();
    kept->input.saved();
    saved.insert(saved.end(), out.h.begin(), out.h.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
    ctx->set_materialize_grads(false);
    return shaped(std::move(out.y), x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::AutoDispatchBelowAutograd below;
    check_interrupted();
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["kept"].toCapsule();
    const auto& kept = static_cast<const Kept&>(*capsule);
    const at::Tensor input = kept.input.value(saved);
    const at::Tensor x = input.view({-1, input.size(-1)});
    std::vector<at::Tensor> dy;
    for (const at::Tensor& grad : grads)
      dy.push_back(grad.defined() ? grad.reshape({x.size(0), -1}) : grad);
    Gradients out{{}, std::vector<at::Tensor>(dy.size()), std::vector<at::Tensor>(dy.size())};
    if (ctx->needs_input_grad(0)) out.dx = through_bases(kept.layers, dy);
    for (std::size_t k = 0; k < kept.groups.size(); ++k)
      add_group(kept.layers, kept.groups[k], x, saved[kept.input.count() + k], dy, out);
    variable_list all{out.dx.defined() ? out.dx.view(input.sizes()) : out.dx, at::Tensor(),
                      at::Tensor()};
    for (std::size_t i = 0; i < kept.layers.size(); ++i) {
      if (is_adapted(kept.layers[i])) all.insert(all.end(), {out.da[i], out.db[i]});
    }
    return all;
  }
};

}  // namespace

std::vector<at::Tensor> apply_grouped(std::span<const Linear> layers, const Derived& x) {
  const at::Tensor input = x.value.contiguous();
  const std::vector<at::Tensor> factors = factors_of(layers);
  if (learns(input, factors))
    return GroupedFunction::apply(input, std::vector<Linear>(layers.begin(), layers.end()),
                                  x.sources.empty() ? Derived(input) : x, at::TensorList(factors));
  const at::Tensor rows = input.view({-1, input.size(-1)});
  return shaped(forward_of(layers, groups_of(layers, rows), rows).y, input);
}

}  // namespace lancet
