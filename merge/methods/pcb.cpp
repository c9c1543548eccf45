// PCB-Merging: parameter competition balancing. Du et al. 2024, arXiv:2410.02396.
//   d_i = x_i - b,  N models                                               [any shape, n elements]
//   norm(v)  = (v - min v) / (max v - min v) over the tensor               0 where v is constant
//   intra_i  = softmax(N norm(d_i d_i))                                    over the tensor
//   inter_i  = sum_j softmax(norm(d_i d_j))
//   beta_i   = intra_i inter_i, kept for its `keep` n largest elements, else 0
//   x = b + lambda sum_i beta_i w_i d_i / sum_i beta_i                      0 / 0 = 0
// Balanced tensor by tensor; the paper flattens the whole model. Softmaxes are taken without their
// common factor 1/n, which cancels. Precision: float64; ranks by float32, the lower index first.
#include <algorithm>

#include "merge/ops/elements.h"
#include "merge/ops/select.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    {.name = "keep",
     .fallback = 0.2,
     .minimum = 0,
     .maximum = 1,
     .per_model = true,
     .help = "share of the model's elements that compete; the rest is dropped"},
    lambda_parameter(),
};

/// Ranges and softmax divisors of the products d_i d_j.
class Balance {
 public:
  explicit Balance(const MergeTask& task)
      : models_(task.models()), ranges_(models_ * models_), divisors_(models_ * models_, 1.0) {
    find_ranges(task);
    find_divisors(task);
  }

  /// beta_i of a block, into scratch[0].
  ops::In beta(const Block& block, std::size_t i) const {
    const ops::Out out = block.scratch[0];
    const ops::In own = block.models[i];
    ops::fill(out, 0);
    for (std::size_t j = 0; j < models_; ++j) {
      const std::size_t k = i * models_ + j;
      ops::add_softmax(out, own, block.models[j], ranges_[k], divisors_[k]);
    }
    ops::scale_by_softmax(out, own, static_cast<double>(models_), ranges_[i * models_ + i],
                          intra_divisors_[i]);
    return out;
  }

 private:
  std::size_t models_;
  std::vector<ops::Range> ranges_;
  std::vector<double> divisors_, intra_divisors_;

  void find_ranges(const MergeTask& task) {
    const auto found = task.scan<std::vector<ops::Range>>(
        [&] { return std::vector<ops::Range>(ranges_.size()); },
        [&](const Block& block, std::vector<ops::Range>& ranges) {
          for (std::size_t k = 0; k < ranges.size(); ++k) {
            ops::widen_by_products(ranges[k], block.models[k / models_], block.models[k % models_]);
          }
        });
    for (const auto& ranges : found) {
      for (std::size_t k = 0; k < ranges.size(); ++k) {
        ranges_[k].low = std::min(ranges_[k].low, ranges[k].low);
        ranges_[k].high = std::max(ranges_[k].high, ranges[k].high);
      }
    }
  }

  /// Means of the exponentials: softmax divisors without the factor n.
  void find_divisors(const MergeTask& task) {
    const std::size_t pairs = ranges_.size();
    const std::vector<double> sums =
        task.sum(pairs + models_, [&](const Block& block, std::span<double> parts) {
          for (std::size_t k = 0; k < pairs; ++k) {
            const std::size_t i = k / models_, j = k % models_;
            ops::add_exponentials(parts[k], i == j ? &parts[pairs + i] : nullptr,
                                  static_cast<double>(models_), ranges_[k], block.models[i],
                                  block.models[j]);
          }
        });
    const double n = static_cast<double>(std::max<std::uint64_t>(1, task.elements()));
    for (std::size_t k = 0; k < pairs; ++k) divisors_[k] = sums[k] / n;
    for (std::size_t i = 0; i < models_; ++i) intra_divisors_.push_back(sums[pairs + i] / n);
  }
};

Emit prepare(const MergeTask& task) {
  if (task.elements() == 0) return [](const Block&, ops::Out) {};
  const Balance balance(task);
  std::vector<ops::RankBand> bands;
  for (const double keep : task.numbers("keep"))
    bands.push_back({0, static_cast<std::uint64_t>(keep * static_cast<double>(task.elements()))});
  const ops::Series series = ops::series_of(
      [balance](const Block& block, std::size_t i) { return balance.beta(block, i); });
  return [balance, filters = ops::BandFilter::find(task, series, bands),
          weights = task.numbers("weight"),
          lambda = task.number("lambda")](const Block& block, ops::Out out) {
    const ops::Out beta = block.scratch[0], divisor = block.scratch[1];
    ops::fill(out, 0);
    ops::fill(divisor, 0);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      static_cast<void>(balance.beta(block, i));
      filters[i].keep(block, beta);
      ops::add(divisor, beta);
      ops::multiply(beta, block.models[i]);
      ops::add_scaled(out, beta, weights[i]);
    }
    ops::divide_nonzero(out, divisor);
    ops::scale(out, lambda);
    ops::add(out, block.base);
  };
}

}  // namespace

extern const Method merge_method_pcb;
const Method merge_method_pcb{.name = "pcb",
                              .title = "PCB: elements compete within and between tasks",
                              .paper = "arXiv:2410.02396",
                              .base = BaseUse::kRequired,
                              .parameters = kParameters,
                              .view = Method::View::kDeltas,
                              .prepare = prepare};

}  // namespace lancet
