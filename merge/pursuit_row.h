#pragma once
// One row of a matching pursuit under way (merge/pursuit.h): y = sum z_t q_t + residual, where the
// chosen atoms are basis * triangle.

#include <vector>

#include "merge/atoms.h"
#include "merge/ops/vector.h"

namespace lancet {

/// y is near the sum of weights_i atoms_i.
struct SparseRow {
  std::vector<std::uint32_t> atoms;  ///< in the order they were chosen
  std::vector<double> weights;
  double residual = 0;  ///< |y - sum| / |y|, 0 for y = 0
};

class PursuitRow {
 public:
  /// Up to `steps` atoms of `width` elements.
  PursuitRow(std::size_t steps, std::size_t width);

  void begin(const TensorReader& table, std::uint32_t row);
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] ops::In residual() const { return residual_; }
  /// |y|, and |residual|.
  [[nodiscard]] double norm() const { return norm_; }
  [[nodiscard]] double left() const { return left_; }
  [[nodiscard]] const std::vector<std::uint32_t>& atoms() const { return out_.atoms; }
  /// Of the atoms that are chosen so far.
  [[nodiscard]] std::vector<double> weights() const;

  /// Takes the best of the candidates, sorted; none helps: the row is done. `unit`: by cosine.
  void step(const Atoms& atoms, const std::vector<std::uint32_t>& candidates, bool unit);
  [[nodiscard]] SparseRow finish();

 private:
  std::size_t steps_, width_;
  std::vector<double> residual_, basis_, triangle_;  ///< [width], [steps, width], [steps, steps]
  std::vector<double> heights_;                      ///< z_t
  double norm_ = 0, left_ = 0;
  bool done_ = false;
  SparseRow out_;

  [[nodiscard]] ops::Out basis(std::size_t t) {
    return std::span(basis_).subspan(t * width_, width_);
  }
  bool add(std::uint32_t atom, ops::In values, double norm);
};

}  // namespace lancet
