#include "merge/linalg.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/rng.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

constexpr std::size_t kOversampling = 10;
constexpr std::size_t kPowerSteps = 4;  ///< between two looks at the bound
constexpr double kConverged = 1e-6;     ///< bound that kAuto is content with
constexpr std::size_t kSmall = 512;     ///< up to this width the thin SVD is as quick

Svd cut(Svd svd, std::size_t rank, double total) {
  rank = std::min(rank, svd.values.size());
  double kept = 0;
  for (std::size_t i = 0; i < rank; ++i) kept += svd.values[i] * svd.values[i];
  svd.error = total > 0 ? std::sqrt(std::max(0.0, total - kept) / total) : 0;
  svd.left = columns_of(svd.left, 0, rank);
  svd.right = rows_of(svd.right, 0, rank);
  svd.values.resize(rank);
  return svd;
}

Matrix random_range(const Linalg& linalg, const Matrix& a, std::size_t width, std::uint64_t seed) {
  Matrix probe(a.columns, width);
  const Random random(seed, "range");
  std::vector<float> row(width);
  for (std::size_t r = 0; r < probe.rows; ++r) {
    random.fill_normal(r * width, row);
    std::ranges::copy(row, probe.row(r).begin());
  }
  return linalg.qr(linalg.multiply(a, probe)).q;
}

Matrix after_power_steps(const Linalg& linalg, const Matrix& a, Matrix range) {
  for (std::size_t i = 0; i < kPowerSteps; ++i) {
    const Matrix back = linalg.qr(linalg.multiply(a, range, true)).q;
    range = linalg.qr(linalg.multiply(a, back)).q;
  }
  return range;
}

Svd svd_in_range(const Linalg& linalg, const Matrix& a, const Matrix& range) {
  Svd small = linalg.svd(linalg.multiply(range, a, true));
  small.left = linalg.multiply(range, small.left);
  return small;
}

/// The largest |A v_j - s_j u_j| / s_1; A^T u_j = s_j v_j holds by construction.
double residual_of(const Linalg& linalg, const Matrix& a, const Svd& svd) {
  if (svd.values.empty() || svd.values[0] == 0) return 0;
  const Matrix image = linalg.multiply(a, svd.right, false, true);
  std::vector<double> sums(svd.values.size());
  for (std::size_t r = 0; r < image.rows; ++r) {
    for (std::size_t k = 0; k < sums.size(); ++k) {
      const double away = image.at(r, k) - svd.left.at(r, k) * svd.values[k];
      sums[k] += away * away;
    }
  }
  return std::sqrt(*std::ranges::max_element(sums)) / svd.values[0];
}

bool by_random_range(const Matrix& a, std::size_t rank, SvdMode mode) {
  if (mode == SvdMode::kExact || mode == SvdMode::kRandomized) return mode == SvdMode::kRandomized;
  const std::size_t least = std::min(a.rows, a.columns);
  return least > kSmall && rank + kOversampling < least / 4;
}

/// By a random range, or nothing where kAuto asks for more than it gives.
std::optional<Svd> randomized_svd(const Linalg& linalg, const Matrix& a, std::size_t rank,
                                  SvdMode mode, std::uint64_t seed) {
  const std::size_t least = std::min(a.rows, a.columns);
  const std::size_t width = std::min(rank + kOversampling, least);
  // About as many steps as take half the time of the thin SVD.
  const std::size_t most = mode == SvdMode::kAuto ? 2 * least / std::max<std::size_t>(1, width) : 0;
  const double total = squared_norm(a);
  Matrix range = random_range(linalg, a, width, seed);
  for (std::size_t steps = kPowerSteps;; steps += kPowerSteps) {
    range = after_power_steps(linalg, a, std::move(range));
    Svd svd = cut(svd_in_range(linalg, a, range), rank, total);
    svd.bound = residual_of(linalg, a, svd);
    if (mode != SvdMode::kAuto || svd.bound <= kConverged) return svd;
    if (steps >= most) return std::nullopt;
  }
}

}  // namespace

void Linalg::note_bound(double bound) const noexcept {
  double seen = worst_bound_;
  while (bound > seen && !worst_bound_.compare_exchange_weak(seen, bound)) {
  }
}

Svd truncated_svd(const Linalg& linalg, const Matrix& a, std::size_t rank, SvdMode mode,
                  std::uint64_t seed) {
  rank = std::min({rank, a.rows, a.columns});
  std::optional<Svd> svd;
  if (by_random_range(a, rank, mode)) svd = randomized_svd(linalg, a, rank, mode, seed);
  if (!svd) svd = cut(linalg.svd(a), rank, squared_norm(a));
  linalg.note_bound(svd->bound);
  return *std::move(svd);
}

Matrix polar_factor(const Linalg& linalg, const Matrix& a) {
  constexpr double kAlike = 1e-8;
  const Svd svd = linalg.svd(a);
  const auto rank = static_cast<std::size_t>(std::ranges::count_if(
      svd.values, [&](double value) { return value > kAlike * svd.values[0]; }));
  return linalg.multiply(columns_of(svd.left, 0, rank), rows_of(svd.right, 0, rank));
}

double squared_norm(const Matrix& a) {
  double sum = 0;
  for (std::size_t r = 0; r < a.rows; ++r) sum += ops::dot(a.row(r), a.row(r));
  return sum;
}

void add_scaled(Matrix& a, const Matrix& b, double weight) {
  ops::add_scaled(a.values, b.values, weight);
}

void scale_columns(Matrix& a, std::span<const double> factors) {
  for (std::size_t r = 0; r < a.rows; ++r) ops::multiply(a.row(r), factors);
}

void scale_rows(Matrix& a, std::span<const double> factors) {
  for (std::size_t r = 0; r < a.rows; ++r) ops::scale(a.row(r), factors[r]);
}

Matrix columns_of(const Matrix& a, std::size_t begin, std::size_t end) {
  Matrix out(a.rows, end - begin);
  for (std::size_t r = 0; r < a.rows; ++r)
    std::ranges::copy(a.row(r).subspan(begin, end - begin), out.row(r).begin());
  return out;
}

Matrix rows_of(const Matrix& a, std::size_t begin, std::size_t end) {
  Matrix out(end - begin, a.columns);
  std::copy_n(a.values.begin() + static_cast<std::ptrdiff_t>(begin * a.columns), out.values.size(),
              out.values.begin());
  return out;
}

Matrix transposed(const Matrix& a) {
  Matrix out(a.columns, a.rows);
  for (std::size_t r = 0; r < a.rows; ++r) {
    for (std::size_t c = 0; c < a.columns; ++c) out.at(c, r) = a.at(r, c);
  }
  return out;
}

Matrix beside(std::span<const Matrix> parts) {
  std::size_t columns = 0;
  for (const Matrix& part : parts) columns += part.columns;
  Matrix out(parts[0].rows, columns);
  for (std::size_t r = 0; r < out.rows; ++r) {
    auto at = out.row(r).begin();
    for (const Matrix& part : parts) at = std::ranges::copy(part.row(r), at).out;
  }
  return out;
}

Matrix below(std::span<const Matrix> parts) {
  Matrix out(0, parts[0].columns);
  for (const Matrix& part : parts) {
    out.rows += part.rows;
    out.values.insert(out.values.end(), part.values.begin(), part.values.end());
  }
  return out;
}

}  // namespace lancet
