#include "model/ssm.h"

#include <algorithm>

#include "model/mlp.h"

namespace lancet {
namespace {

/// 1 for a row's tokens, 0 behind them: [batch, tokens, 1].
at::Tensor real_tokens(const std::vector<std::int64_t>& lengths, const at::Tensor& like) {
  const at::Tensor length = at::tensor(lengths, at::kLong).to(like.device()).view({-1, 1});
  const at::Tensor token = at::arange(like.size(1), length.options());
  return (token < length).to(like.scalar_type()).unsqueeze(2);
}

/// The last d_conv - 1 inputs of each row, seen from behind its tokens.
at::Tensor last_inputs(const at::Tensor& x, const at::Tensor& before, const SsmPass& pass) {
  const at::Tensor all = at::cat({before, x}, 1).detach();
  const std::int64_t kept = before.size(1);
  if (pass.lengths.empty()) return all.narrow(1, x.size(1), kept).clone();
  std::vector<at::Tensor> rows;
  for (std::int64_t b = 0; b < x.size(0); ++b)
    rows.push_back(all.select(0, b).narrow(0, pass.lengths[static_cast<std::size_t>(b)], kept));
  return at::stack(rows);
}

/// What the scan reads, and the gate.
struct Inputs {
  at::Tensor x, dt, b, c, gate;
};

/// softplus, within the bounds, and nothing where a row has no token: the state then stays.
at::Tensor time_steps(const at::Tensor& raw, const SsmPass& pass) {
  at::Tensor dt = at::softplus(raw.to(at::kFloat));
  const SsmSpec& spec = *pass.spec;
  if (spec.dt_min > 0) dt = dt.clamp_min(spec.dt_min);
  if (spec.dt_max < std::numeric_limits<double>::infinity()) dt = dt.clamp_max(spec.dt_max);
  return pass.lengths.empty() ? dt : dt * real_tokens(pass.lengths, dt);
}

/// The convolution with its activation; the inputs it will need later go to the state.
at::Tensor convolved(const SsmPart& part, const at::Tensor& x, const SsmPass& pass) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor before =
      pass.before != nullptr
          ? pass.before->conv
          : at::zeros({x.size(0), pass.spec->d_conv - 1, x.size(2)}, wide.options());
  if (pass.after != nullptr) pass.after->conv = last_inputs(wide, before, pass);
  return apply_activation(pass.spec->activation,
                          causal_conv(wide, part.conv_weight, part.conv_bias, before), {})
      .value;
}

Inputs first_kind(const SsmPart& part, const at::Tensor& hidden, const SsmPass& pass) {
  const SsmSpec& spec = *pass.spec;
  const auto halves = apply_linear(part.in, hidden).chunk(2, -1);
  const at::Tensor x = convolved(part, halves[0], pass);
  auto narrow = apply_linear(part.x, x.to(hidden.scalar_type()))
                    .split_with_sizes({spec.dt_rank, spec.d_state, spec.d_state}, -1);
  if (spec.inner_norms) {
    narrow[0] = apply_norm(part.dt_norm, narrow[0]);
    narrow[1] = apply_norm(part.b_norm, narrow[1]);
    narrow[2] = apply_norm(part.c_norm, narrow[2]);
  }
  return {x, time_steps(apply_linear(part.dt, narrow[0]), pass), narrow[1], narrow[2], halves[1]};
}

Inputs second_kind(const SsmPart& part, const at::Tensor& hidden, const SsmPass& pass) {
  const SsmSpec& spec = *pass.spec;
  const std::int64_t shared = spec.groups * spec.d_state;
  const auto parts = apply_linear(part.in, hidden)
                         .split_with_sizes({spec.width(), spec.conv_width(), spec.heads}, -1);
  const auto wide =
      convolved(part, parts[1], pass).split_with_sizes({spec.width(), shared, shared}, -1);
  const at::Tensor dt = time_steps(parts[2].to(at::kFloat) + part.dt_bias, pass);
  return {wide[0], dt, wide[1], wide[2], parts[0]};
}

}  // namespace

at::Tensor causal_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       const at::Tensor& before) {
  const at::Tensor all = at::cat({before, x}, 1);
  at::Tensor out = all.narrow(1, 0, x.size(1)) * weight[0];
  for (std::int64_t j = 1; j < weight.size(0); ++j)
    out = out + all.narrow(1, j, x.size(1)) * weight[j];
  return bias.defined() ? out + bias : out;
}

at::Tensor run_ssm(const SsmPart& part, const at::Tensor& x, const SsmPass& pass) {
  if (!pass.segments.empty()) {
    std::vector<at::Tensor> out;
    for (const at::Tensor& text : x.split_with_sizes(pass.segments, 1)) {
      SsmPass alone{.spec = pass.spec, .lengths = {}, .segments = {}};
      SsmState before;
      if (pass.before != nullptr) {
        before.conv = pass.before->conv.narrow(0, std::ssize(out), 1);
        before.scan = pass.before->scan.narrow(0, std::ssize(out), 1);
        alone.before = &before;
      }
      out.push_back(run_ssm(part, text, alone));
    }
    return at::cat(out, 1);
  }
  const SsmSpec& spec = *pass.spec;
  const bool first = spec.kind == SsmKind::kMamba1;
  const Inputs in = first ? first_kind(part, x, pass) : second_kind(part, x, pass);
  const auto view = [&](const at::Tensor& each, std::int64_t parts, std::int64_t width) {
    return each.to(at::kFloat).reshape({x.size(0), x.size(1), parts, width});
  };
  const at::Tensor heads = view(in.x, spec.heads, spec.d_head);
  at::Tensor state = pass.before != nullptr
                         ? pass.before->scan
                         : at::zeros({x.size(0), spec.heads, spec.d_head, spec.d_state},
                                     heads.options().requires_grad(false));
  at::Tensor y = selective_scan(heads, in.dt, part.a, view(in.b, spec.groups, spec.d_state),
                                view(in.c, spec.groups, spec.d_state), state);
  if (pass.after != nullptr) pass.after->scan = state.detach();
  y = (y + heads * part.d.view({-1, 1})).flatten(2) * at::silu(in.gate.to(at::kFloat));
  return first ? y.to(x.scalar_type()) : apply_norm(part.norm, y.to(x.scalar_type()));
}

}  // namespace lancet
