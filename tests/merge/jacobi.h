#pragma once
// Linear algebra by the plainest means: one-sided Jacobi rotations, Gram-Schmidt twice, Cholesky by
// its definition. Slow and obvious; what the tests of merging have in place of the engine.

#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "merge/linalg.h"

namespace lancet::test {

class Jacobi final : public Linalg {
 public:
  Matrix multiply(const Matrix& a, const Matrix& b, bool transpose_a,
                  bool transpose_b) const override {
    const Matrix left = transpose_a ? transposed(a) : a, right = transpose_b ? transposed(b) : b;
    if (left.columns != right.rows) fail(ErrorKind::kInternal, "jacobi", "shapes do not fit");
    Matrix out(left.rows, right.columns);
    for (std::size_t r = 0; r < left.rows; ++r) {
      for (std::size_t k = 0; k < left.columns; ++k) {
        const double factor = left.at(r, k);
        for (std::size_t c = 0; c < right.columns; ++c) out.at(r, c) += factor * right.at(k, c);
      }
    }
    return out;
  }

  Svd svd(const Matrix& a) const override {
    if (a.rows < a.columns) {
      Svd turned = svd(transposed(a));
      return {transposed(turned.right), turned.values, transposed(turned.left), 0};
    }
    // Columns of `work` (rows here) are turned until they are orthogonal: A V = U S.
    Matrix work = transposed(a), v(a.columns, a.columns);
    for (std::size_t i = 0; i < a.columns; ++i) v.at(i, i) = 1;
    for (int sweep = 0; sweep < 60 && rotate_all(work, v); ++sweep) {
    }
    return sorted(work, v);
  }

  Eigen eigen(const Matrix& a) const override {
    // Of A + shift I, which is positive definite: singular values are eigenvalues.
    double shift = 0;
    for (const double value : a.values) shift += std::fabs(value);
    Matrix moved = a;
    for (std::size_t i = 0; i < a.rows; ++i) moved.at(i, i) += shift;
    Svd found = svd(moved);
    Eigen out{{}, Matrix(a.rows, a.rows)};
    for (std::size_t k = a.rows; k-- > 0;) {
      const std::size_t to = a.rows - 1 - k;
      out.values.push_back(found.values[k] - shift);
      for (std::size_t r = 0; r < a.rows; ++r) out.vectors.at(r, to) = found.right.at(k, r);
    }
    return out;
  }

  Qr qr(const Matrix& a) const override {
    const std::size_t k = std::min(a.rows, a.columns);
    Matrix basis = transposed(columns_of(a, 0, k));
    for (std::size_t i = 0; i < k; ++i) complete(basis, i);
    Qr out{transposed(basis), {}};
    out.r = multiply(basis, a, false, false);
    return out;
  }

  Matrix solve(const Matrix& a, const Matrix& b) const override {
    const std::size_t n = a.rows;
    Matrix l(n, n), x = b;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = a.at(i, j);
        for (std::size_t k = 0; k < j; ++k) sum -= l.at(i, k) * l.at(j, k);
        if (i == j && !(sum > 0)) fail(ErrorKind::kNumeric, "jacobi", "not positive definite");
        l.at(i, j) = i == j ? std::sqrt(sum) : sum / l.at(j, j);
      }
    }
    for (std::size_t c = 0; c < b.columns; ++c) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < i; ++k) x.at(i, c) -= l.at(i, k) * x.at(k, c);
        x.at(i, c) /= l.at(i, i);
      }
      for (std::size_t i = n; i-- > 0;) {
        for (std::size_t k = i + 1; k < n; ++k) x.at(i, c) -= l.at(k, i) * x.at(k, c);
        x.at(i, c) /= l.at(i, i);
      }
    }
    return x;
  }

 private:
  static double dot(std::span<const double> a, std::span<const double> b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  }

  static void rotate(std::span<double> a, std::span<double> b, double cosine, double sine) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double x = a[i], y = b[i];
      a[i] = cosine * x - sine * y;
      b[i] = sine * x + cosine * y;
    }
  }

  /// One sweep over all pairs; false when all were orthogonal.
  static bool rotate_all(Matrix& work, Matrix& v) {
    bool turned = false;
    for (std::size_t i = 0; i + 1 < work.rows; ++i) {
      for (std::size_t j = i + 1; j < work.rows; ++j) {
        const double a = dot(work.row(i), work.row(i)), b = dot(work.row(j), work.row(j)),
                     c = dot(work.row(i), work.row(j));
        if (std::fabs(c) <= 1e-15 * std::sqrt(a * b)) continue;
        turned = true;
        const double zeta = (b - a) / (2 * c);
        const double t = (zeta >= 0 ? 1.0 : -1.0) / (std::fabs(zeta) + std::hypot(1.0, zeta));
        const double cosine = 1 / std::hypot(1.0, t);
        rotate(work.row(i), work.row(j), cosine, cosine * t);
        rotate(v.row(i), v.row(j), cosine, cosine * t);
      }
    }
    return turned;
  }

  /// Row i made a unit vector orthogonal to the rows before it; where nothing is left of it, some
  /// such vector.
  static void complete(Matrix& rows, std::size_t i) {
    const double before = std::sqrt(dot(rows.row(i), rows.row(i)));
    for (std::size_t attempt = 0; attempt <= rows.columns; ++attempt) {
      for (int twice = 0; twice < 2; ++twice) {
        for (std::size_t k = 0; k < i; ++k) {
          const double share = dot(rows.row(k), rows.row(i));
          for (std::size_t c = 0; c < rows.columns; ++c) rows.at(i, c) -= share * rows.at(k, c);
        }
      }
      const double size = std::sqrt(dot(rows.row(i), rows.row(i)));
      if (size > 1e-13 * (attempt == 0 ? before : 1.0) && size > 0) {
        for (double& value : rows.row(i)) value /= size;
        return;
      }
      std::ranges::fill(rows.row(i), 0.0);
      if (attempt < rows.columns) rows.at(i, attempt) = 1;
    }
  }

  static Svd sorted(const Matrix& work, const Matrix& v) {
    const std::size_t n = work.rows;
    std::vector<double> sizes;
    for (std::size_t i = 0; i < n; ++i) sizes.push_back(std::sqrt(dot(work.row(i), work.row(i))));
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return sizes[i]; });
    Matrix left(n, work.columns);
    Svd out{{}, {}, Matrix(n, n), 0};
    for (std::size_t k = 0; k < n; ++k) {
      out.values.push_back(sizes[order[k]]);
      std::ranges::copy(work.row(order[k]), left.row(k).begin());
      std::ranges::copy(v.row(order[k]), out.right.row(k).begin());
      // Vectors of singular values that are zero are completed to an orthonormal set.
      if (sizes[order[k]] > 1e-300) {
        for (double& value : left.row(k)) value /= sizes[order[k]];
      } else {
        complete(left, k);
      }
    }
    out.left = transposed(left);
    return out;
  }
};

/// The one that tests share.
inline const Linalg& jacobi() {
  static const Jacobi instance;
  return instance;
}

}  // namespace lancet::test
