#include "distill/losses/ops/taught_rows.h"

#include <numeric>

#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"

namespace lancet::losses {
namespace {

class TaughtRows {
 public:
  TaughtRows(const LossTargets& targets, double alpha, const Comparison& compare)
      : targets_(targets),
        alpha_(alpha),
        compare_(compare),
        teacher_(*targets.teacher, targets.teacher_hidden),
        beside_(targets.teacher_row),
        ce_(targets.next.size()),
        kd_(targets.next.size()) {
    if (!beside_.empty()) return;
    beside_.resize(targets.next.size());
    std::iota(beside_.begin(), beside_.end(), 0);
  }

  void load(std::int64_t first, std::int64_t count) {
    first_ = first;
    teacher_.load(std::span(beside_).subspan(static_cast<std::size_t>(first),
                                             static_cast<std::size_t>(count)));
  }

  double value(std::int64_t row, std::span<float> logits, bool gradient) {
    const auto i = static_cast<std::size_t>(row);
    const double weight = targets_.weight.empty() ? 1 : static_cast<double>(targets_.weight[i]);
    const std::span<float> theirs = teacher_.row(row - first_);
    if (theirs.empty()) {
      ce_[i] = cross_entropy(logits, targets_.next[i], gradient, weight);
      return weight * ce_[i];
    }
    thread_local std::vector<float> student, slopes;
    student.assign(logits.begin(), logits.end());
    slopes.assign(gradient ? logits.size() : 0, 0.0F);
    kd_[i] = compare_(student, theirs, slopes);
    ce_[i] = cross_entropy(logits, targets_.next[i], gradient, weight * (1 - alpha_));
    const auto share = static_cast<float>(weight * alpha_);
    for (std::size_t j = 0; j < slopes.size(); ++j) logits[j] += share * slopes[j];
    return weight * ((1 - alpha_) * ce_[i] + alpha_ * kd_[i]);
  }

  LossResult result(at::Tensor sum) const {
    LossResult out{.sum = std::move(sum), .count = static_cast<std::int64_t>(ce_.size())};
    for (std::size_t i = 0; i < ce_.size(); ++i) {
      out.ce += ce_[i];
      out.kd += kd_[i];
      out.teacher_rows += beside_[i] >= 0 ? 1 : 0;
    }
    out.coverage = static_cast<double>(out.teacher_rows);
    return out;
  }

 private:
  const LossTargets& targets_;
  double alpha_;
  const Comparison& compare_;
  TeacherLogits teacher_;
  std::vector<std::int64_t> beside_;
  std::int64_t first_ = 0;
  std::vector<double> ce_, kd_;
};

}  // namespace

LossResult taught_rows(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
                       double alpha, const Comparison& compare) {
  TaughtRows taught(targets, alpha, compare);
  HeadRows rows;
  rows.before = [&](std::int64_t first, std::int64_t count) { taught.load(first, count); };
  rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
    return taught.value(row, logits, gradient);
  };
  at::Tensor sum = sum_of(head_rows(model, hidden, rows));
  return taught.result(std::move(sum));
}

}  // namespace lancet::losses
