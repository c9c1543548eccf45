#pragma once
// Dense linear algebra for the methods that need it, behind a door: merge/ knows no LibTorch.
// The engine (cli/engine/merge_linalg.cpp) is the implementation that ships; the tests bring a slow
// one of their own. Everything is float64 and row-major.

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace lancet {

/// [rows, columns], row-major, owned.
struct Matrix {
  std::size_t rows = 0, columns = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
  [[nodiscard]] double& at(std::size_t r, std::size_t c) { return values[r * columns + c]; }
  [[nodiscard]] double at(std::size_t r, std::size_t c) const { return values[r * columns + c]; }
  [[nodiscard]] std::span<double> row(std::size_t r) {
    return std::span(values).subspan(r * columns, columns);
  }
  [[nodiscard]] std::span<const double> row(std::size_t r) const {
    return std::span(values).subspan(r * columns, columns);
  }
};

/// A = left diag(values) right, singular values descending.
struct Svd {
  Matrix left;                 ///< [rows, k], orthonormal columns
  std::vector<double> values;  ///< [k], >= 0
  Matrix right;                ///< [k, columns], orthonormal rows
  double error = 0;            ///< |A - left diag(values) right|_F / |A|_F, known where k is less
                               ///< than the rank: what was cut away
  double bound = 0;            ///< of a randomised SVD: each value is within bound * values[0] of a
                               ///< singular value of A
};

/// A = vectors diag(values) vectors^T, eigenvalues ascending.
struct Eigen {
  std::vector<double> values;  ///< [n]
  Matrix vectors;              ///< [n, n], one in each column
};

struct Qr {
  Matrix q;  ///< [rows, k], orthonormal columns, k = min(rows, columns)
  Matrix r;  ///< [k, columns], upper triangular
};

/// Implementations are thread-safe and give the same bits for any number of threads. Inputs are
/// finite; kNumeric where an algorithm does not converge.
class Linalg {
 public:
  virtual ~Linalg() = default;
  /// op(a) op(b), op transposing where said.
  [[nodiscard]] virtual Matrix multiply(const Matrix& a, const Matrix& b, bool transpose_a = false,
                                        bool transpose_b = false) const = 0;
  /// Thin: k = min(rows, columns).
  [[nodiscard]] virtual Svd svd(const Matrix& a) const = 0;
  /// Of a symmetric matrix; only one triangle is read.
  [[nodiscard]] virtual Eigen eigen(const Matrix& a) const = 0;
  [[nodiscard]] virtual Qr qr(const Matrix& a) const = 0;
  /// X with A X = B for a symmetric positive definite A. kNumeric when it is not.
  [[nodiscard]] virtual Matrix solve(const Matrix& a, const Matrix& b) const = 0;

  /// Remembers the largest Svd::bound, for the report at the end.
  void note_bound(double bound) const noexcept;
  [[nodiscard]] double worst_bound() const noexcept { return worst_bound_; }

 private:
  mutable std::atomic<double> worst_bound_ = 0;
};

/// How a truncated SVD is found.
enum class SvdMode {
  kAuto,        ///< randomised for a small rank of a large matrix, with power steps until `bound`
                ///< is at most 1e-6; exact where that is no quicker
  kExact,       ///< the thin SVD, cut
  kRandomized,  ///< always by a random range with four power steps
  kQuick        ///< kRandomized for a small rank of a large matrix, else exact: near the best
                ///< approximation, not its vectors
};

/// The first `rank` (at most min(rows, columns)) singular triplets. Randomised: Halko, Martinsson
/// and Tropp 2011, arXiv:0909.4061, with ten extra directions and orthonormalised power steps; the
/// range depends on the shape and `seed` only. `error` is exact in both modes, since what is
/// kept is an orthogonal projection of A; `bound` is the largest |A v - s u| / s_1.
[[nodiscard]] Svd truncated_svd(const Linalg& linalg, const Matrix& a, std::size_t rank,
                                SvdMode mode, std::uint64_t seed = 0);

/// The nearest matrix with orthonormal columns (rows, where there are fewer of them): left right of
/// the SVD. Where columns (rows) say the same, so that some direction of A is rounding alone (below
/// 1e-8 of the largest), nearest in the space that they span: that direction would be arbitrary.
[[nodiscard]] Matrix polar_factor(const Linalg& linalg, const Matrix& a);

/// |A|_F^2.
[[nodiscard]] double squared_norm(const Matrix& a);
/// a += weight * b.
void add_scaled(Matrix& a, const Matrix& b, double weight);
/// Column j of `a` times factors[j].
void scale_columns(Matrix& a, std::span<const double> factors);
/// Row i of `a` times factors[i].
void scale_rows(Matrix& a, std::span<const double> factors);
/// Columns [begin, end) / rows [begin, end).
[[nodiscard]] Matrix columns_of(const Matrix& a, std::size_t begin, std::size_t end);
[[nodiscard]] Matrix rows_of(const Matrix& a, std::size_t begin, std::size_t end);
[[nodiscard]] Matrix transposed(const Matrix& a);
/// Side by side / one below the other; all of equal height / width.
[[nodiscard]] Matrix beside(std::span<const Matrix> parts);
[[nodiscard]] Matrix below(std::span<const Matrix> parts);

}  // namespace lancet
