#include "merge/pursuit_row.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace lancet {
namespace {

constexpr double kDependent = 1e-10;  ///< an atom this near to the span of the others adds nothing
constexpr double kNothingLeft = 1e-13;  ///< of |y|: what remains is rounding

}  // namespace

PursuitRow::PursuitRow(std::size_t steps, std::size_t width)
    : steps_(steps),
      width_(width),
      residual_(width),
      basis_(steps * width),
      triangle_(steps * steps) {}

void PursuitRow::begin(const TensorReader& table, std::uint32_t row) {
  table.read(row * static_cast<std::uint64_t>(width_), residual_);
  norm_ = left_ = std::sqrt(ops::dot(residual_, residual_));
  out_ = {};
  heights_.clear();
  done_ = norm_ == 0;
}

std::vector<double> PursuitRow::weights() const {
  const std::size_t n = out_.atoms.size();
  std::vector<double> weights(n);
  for (std::size_t t = n; t-- > 0;) {
    double sum = heights_[t];
    for (std::size_t s = t + 1; s < n; ++s) sum -= triangle_[t * steps_ + s] * weights[s];
    weights[t] = sum / triangle_[t * steps_ + t];
  }
  return weights;
}

void PursuitRow::step(const Atoms& atoms, const std::vector<std::uint32_t>& candidates, bool unit) {
  std::vector<double> best(width_), row(width_);
  double largest = 0;
  std::uint32_t chosen = 0;
  for (const std::uint32_t atom : candidates) {
    if (std::ranges::find(out_.atoms, atom) != out_.atoms.end()) continue;
    atoms.read(atom, row);
    const double scale = unit ? 1 / atoms.norm(atom) : 1;
    const double score = std::fabs(ops::dot(row, residual_)) * scale;
    if (!(score > largest)) continue;
    largest = score;
    chosen = atom;
    best.swap(row);
  }
  done_ = !(largest > 0) || !add(chosen, best, atoms.norm(chosen)) || out_.atoms.size() == steps_ ||
          left_ <= kNothingLeft * norm_;
}

SparseRow PursuitRow::finish() {
  out_.weights = weights();
  out_.residual = norm_ > 0 ? left_ / norm_ : 0;
  return std::move(out_);
}

/// False where the atom lies in the span of those before.
bool PursuitRow::add(std::uint32_t atom, ops::In values, double norm) {
  const std::size_t t = out_.atoms.size();
  const ops::Out q = basis(t);
  ops::copy(q, values);
  for (std::size_t s = 0; s < t; ++s) triangle_[s * steps_ + t] = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t s = 0; s < t; ++s) {
      const double share = ops::dot(q, basis(s));
      ops::add_scaled(q, basis(s), -share);
      triangle_[s * steps_ + t] += share;
    }
  }
  const double height = std::sqrt(ops::dot(q, q));
  if (height <= kDependent * norm) return false;
  ops::scale(q, 1 / height);
  triangle_[t * steps_ + t] = height;
  heights_.push_back(ops::dot(q, residual_));
  ops::add_scaled(residual_, q, -heights_.back());
  left_ = std::sqrt(ops::dot(residual_, residual_));
  out_.atoms.push_back(atom);
  return true;
}

}  // namespace lancet
