#pragma once
// Adam (Kingma & Ba 2015, arXiv:1412.6980) on one tensor, in float64: betas 0.9 and 0.999,
// eps 1e-8, with bias correction.

#include <cmath>

#include <ATen/ATen.h>

namespace lancet {

class Adam {
 public:
  Adam(at::IntArrayRef shape, double lr)
      : lr_(lr), m_(at::zeros(shape, at::kDouble)), v_(at::zeros(shape, at::kDouble)) {}

  /// value and gradient: float64 of the shape given.
  void step(at::Tensor& value, const at::Tensor& gradient) {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
    ++count_;
    m_ = m_ * kBeta1 + gradient * (1 - kBeta1);
    v_ = v_ * kBeta2 + gradient * gradient * (1 - kBeta2);
    const double scale1 = 1 - std::pow(kBeta1, count_), scale2 = 1 - std::pow(kBeta2, count_);
    value = value - lr_ / scale1 * m_ / ((v_ / scale2).sqrt() + kEps);
  }

 private:
  double lr_;
  int count_ = 0;
  at::Tensor m_, v_;
};

}  // namespace lancet
