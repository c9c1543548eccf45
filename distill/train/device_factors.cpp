#include "distill/train/device_factors.h"

#include <utility>

namespace lancet {

DeviceFactors::DeviceFactors(const LoraAdapter& adapter, const at::Device& device) {
  for (const std::shared_ptr<LowRank>& own : adapter.parts()) {
    parts_.push_back(own);
    if (own->embedding || own->magnitude.defined()) continue;
    auto copy = std::make_shared<LowRank>(*own);
    for (const auto& [from, to] : {std::pair(&own->a, &copy->a), std::pair(&own->b, &copy->b)}) {
      *to = at::empty(from->sizes(), from->options().device(device)).requires_grad_(true);
      pairs_.push_back({*from, *to});
    }
    if (own->a0.defined()) copy->a0 = own->a0.to(device);
    if (own->b0.defined()) copy->b0 = own->b0.to(device);
    parts_.back() = std::move(copy);
  }
}

LoraParts DeviceFactors::parts() const {
  LoraParts out;
  for (const std::shared_ptr<LowRank>& part : parts_) out.emplace(part->module, part);
  return out;
}

void DeviceFactors::fetch() {
  const at::NoGradGuard no_grad;
  for (const Pair& each : pairs_) each.copy.copy_(each.own, /*non_blocking=*/true);
}

void DeviceFactors::give_back() {
  const at::NoGradGuard no_grad;
  for (const Pair& each : pairs_) {
    at::Tensor& from = each.copy.mutable_grad();
    if (!from.defined()) continue;
    const at::Tensor here = from.to(each.own.device());
    at::Tensor& to = each.own.mutable_grad();
    to = to.defined() ? to + here : here;
    from.reset();
  }
}

}  // namespace lancet
