#include "distill/losses/ops/token_rows.h"

#include <memory>
#include <utility>

#include "distill/losses/ops/cross_entropy.h"
#include "model/linear.h"

namespace lancet::losses {
namespace {

fused::LogitForm form_of(const DecoderSpec& spec) {
  return {spec.logit_scale, spec.logit_softcap, spec.masked_ids};
}

}  // namespace

HeadRows token_rows(std::vector<std::int32_t> next, std::vector<float> factors, double* ce) {
  HeadRows rows;
  rows.tokens = std::make_shared<TokenRows>(TokenRows{std::move(next), std::move(factors), ce});
  rows.value = [tokens = rows.tokens](std::int64_t row, std::span<float> logits, bool gradient) {
    const auto i = static_cast<std::size_t>(row);
    const double factor = tokens->factor(i);
    const double loss = cross_entropy(logits, tokens->next[i], gradient, factor);
    if (tokens->ce != nullptr) tokens->ce[i] = loss;
    return factor * loss;
  };
  return rows;
}

bool stays_on_device(const HeadRows& rows, const at::Tensor& x) {
  return rows.tokens != nullptr && fused::covers(x);
}

void DeviceTokens::add(const at::Tensor& logits, std::int64_t first, const fused::LogitForm& form,
                       bool gradient, const double* slopes) {
  const auto begin = static_cast<std::size_t>(first);
  const auto count = static_cast<std::size_t>(logits.size(0));
  std::vector<float> weights;
  for (std::size_t i = begin; gradient && i < begin + count; ++i)
    weights.push_back(static_cast<float>(tokens_.factor(i) * (slopes == nullptr ? 1 : slopes[i])));
  losses_.push_back(fused::cross_entropy(logits, std::span(tokens_.next).subspan(begin, count),
                                         weights, form, gradient));
}

void DeviceTokens::finish(double* values) const {
  if (losses_.empty()) return;
  const at::Tensor all = at::cat(losses_).to(at::kCPU);
  const auto* loss = all.const_data_ptr<double>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(all.numel()); ++i) {
    if (tokens_.ce != nullptr) tokens_.ce[i] = loss[i];
    values[i] = tokens_.factor(i) * loss[i];
  }
}

void run_on_device(const Decoder& model, DeviceTokens& tokens, const at::Tensor& normed,
                   std::int64_t first, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  const Linear& head = model.head_linear();
  const at::Tensor logits = apply_composed(head, normed).contiguous();
  tokens.add(logits, first, form_of(model.spec()), gradient.defined());
  if (!gradient.defined()) return;
  at::Tensor to = gradient;
  at::mm_out(to, logits, head.layout == MatrixLayout::kOutIn ? head.weight : head.weight.t());
}

}  // namespace lancet::losses
