#include "model/derived.h"

#include <ATen/core/grad_mode.h>

namespace lancet {

Derived::Derived(at::Tensor v, std::vector<at::Tensor> from, Make how) : value(std::move(v)) {
  // One that is copied to be used cannot be made again as it is used.
  if (!at::GradMode::is_enabled() || !value.requires_grad() || !value.is_contiguous()) return;
  for (at::Tensor& each : from) each = each.detach();
  sources = std::move(from);
  make = std::move(how);
}

KeptInput::KeptInput(const Derived& input)
    : to_save_(input.sources.empty() ? std::vector{input.value} : input.sources),
      count_(to_save_.size()),
      make_(input.make) {}

at::Tensor KeptInput::value(const std::vector<at::Tensor>& saved) const {
  if (!make_) return saved[0];
  const at::NoGradGuard plain;
  return make_({saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(count_)});
}

}  // namespace lancet
