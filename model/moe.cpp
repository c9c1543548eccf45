// Mixtures of experts. Tokens are gathered by expert, in the order of the experts, so that each
// expert's matrices are read once and sums have one order.

#include <vector>

#include "model/decoder_parts.h"

namespace lancet {
namespace {

/// Scores outside the best groups become `nothing`. A group's score is the sum of its group_best
/// best experts.
at::Tensor within_best_groups(const at::Tensor& scores, const MoeSpec& spec, double nothing) {
  if (spec.groups == 1) return scores;
  const at::Tensor grouped = scores.view({scores.size(0), spec.groups, -1});
  const at::Tensor score = std::get<0>(grouped.topk(spec.group_best, -1)).sum(-1);
  const at::Tensor best = std::get<1>(score.topk(spec.top_groups, -1));
  const at::Tensor keep = at::zeros_like(score).scatter(1, best, 1).unsqueeze(-1).to(at::kBool);
  return at::where(keep, grouped, at::full({}, nothing, scores.options())).view(scores.sizes());
}

/// The rows of each expert: rows[e] of the tokens, slot[e] among their choices.
struct Assignment {
  std::vector<std::vector<std::int64_t>> rows, slots;
};

Assignment by_expert(const at::Tensor& chosen, std::int64_t experts) {
  const at::Tensor cpu = chosen.to(at::kCPU).contiguous();
  const auto* id = cpu.const_data_ptr<std::int64_t>();
  const auto count = static_cast<std::size_t>(experts);
  Assignment out{std::vector<std::vector<std::int64_t>>(count),
                 std::vector<std::vector<std::int64_t>>(count)};
  for (std::int64_t r = 0; r < cpu.size(0); ++r) {
    for (std::int64_t s = 0; s < cpu.size(1); ++s, ++id) {
      out.rows[static_cast<std::size_t>(*id)].push_back(r);
      out.slots[static_cast<std::size_t>(*id)].push_back(s);
    }
  }
  return out;
}

/// The tokens of one expert: their rows, weights [tokens, 1] and keys (times the weight where the
/// family weighs what an expert reads).
struct Share {
  std::size_t expert;
  at::Tensor rows, weight;
  Derived key;
};

template <class Take>
void for_each_expert(const MoePart& part, const MoeSpec& spec, const at::Tensor& x,
                     const Take& take) {
  const Routes routes = route(apply_linear(part.router, x).to(at::kFloat), part.correction, spec);
  const Assignment work = by_expert(routes.experts, spec.experts);
  for (std::size_t e = 0; e < part.experts.size(); ++e) {
    if (work.rows[e].empty()) continue;
    const at::Tensor rows = at::tensor(work.rows[e], at::kLong).to(x.device());
    const at::Tensor slots = at::tensor(work.slots[e], at::kLong).to(x.device());
    const at::Tensor weight = routes.weights.index({rows, slots}).unsqueeze(1).to(x.scalar_type());
    const at::Tensor input = x.index_select(0, rows);
    take(Share{e, rows, weight,
               mlp_key(part.experts[e], spec.weigh_input ? input * weight : input)});
  }
}

at::Tensor run_routed(const MoePart& part, const MoeSpec& spec, const at::Tensor& x) {
  at::Tensor out = at::zeros_like(x);
  for_each_expert(part, spec, x, [&](const Share& share) {
    const at::Tensor y = apply_linear(part.experts[share.expert].down, share.key);
    out = out.index_add(0, share.rows, spec.weigh_input ? y : y * share.weight);
  });
  return out;
}

}  // namespace

Routes route(const at::Tensor& logits, const at::Tensor& correction, const MoeSpec& spec) {
  if (spec.router == RouterKind::kSoftmaxOfChosen) {
    const auto [best, chosen] = logits.topk(spec.top_k, -1);
    return {chosen, at::softmax(best, -1)};
  }
  const bool softmax = spec.router == RouterKind::kSoftmax;
  const at::Tensor scores = softmax ? at::softmax(logits, -1) : at::sigmoid(logits);
  const at::Tensor choice = within_best_groups(correction.defined() ? scores + correction : scores,
                                               spec, softmax ? 0 : -1e30);
  const at::Tensor chosen = std::get<1>(choice.topk(spec.top_k, -1));
  at::Tensor weights = scores.gather(1, chosen);
  if (spec.normalize) weights = weights / (weights.sum(-1, true) + spec.normalize_eps);
  return {chosen, spec.scale == 1 ? weights : weights * spec.scale};
}

at::Tensor gated_keys(const MoePart& part, const MoeSpec& spec, const at::Tensor& x) {
  const std::int64_t width = part.experts.front().down.d_in();
  at::Tensor out = at::zeros({x.size(0), spec.experts * width}, x.options());
  for_each_expert(part, spec, x, [&](const Share& share) {
    out.narrow(1, static_cast<std::int64_t>(share.expert) * width, width)
        .index_copy_(0, share.rows,
                     spec.weigh_input ? share.key.value : share.key.value * share.weight);
  });
  return out;
}

at::Tensor run_experts(const MoePart& part, const MoeSpec& spec, const at::Tensor& x) {
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  at::Tensor out = run_routed(part, spec, rows);
  if (!part.shared.inner.empty()) {
    at::Tensor shared = apply_linear(part.shared.down, mlp_key(part.shared, rows));
    if (part.shared_gate.weight.defined())
      shared = shared * at::sigmoid(apply_linear(part.shared_gate, rows));
    out = out + shared;
  }
  return out.view(x.sizes());
}

}  // namespace lancet
