#pragma once
// Which atoms may have the largest score with a row's residual r: float32 with a bound on its
// error, so that few are left for float64 to decide among.
//   <a_j, r>                                       all atoms, many rows at a time
//   |a_j| (<u_j, y> - sum_s w_s |a_s| <u_j, u_s>)  u = a / |a|: from cosines between the atoms, for
//                                                  one row; as many terms as the row has atoms
//                                                  instead of as many as it has elements

#include <vector>

#include "merge/pursuit_row.h"

namespace lancet {

/// Atoms, in order.
using Candidates = std::vector<std::uint32_t>;

/// For every row the atoms that may be the best. `unit`: by cosine.
[[nodiscard]] std::vector<Candidates> screen_residuals(const Atoms& atoms,
                                                       const std::vector<const PursuitRow*>& rows,
                                                       bool unit);

class CosineScreen {
 public:
  CosineScreen(const Atoms& atoms, const AtomCosines& cosines, bool unit);

  /// <u_j, y> of rows at their beginning, [row][atom].
  [[nodiscard]] std::vector<std::vector<float>> starts(std::span<const PursuitRow> rows) const;
  /// `start`: that of the row. More than kMany candidates where float32 cannot tell them apart.
  [[nodiscard]] Candidates look(const PursuitRow& row, std::span<const float> start,
                                std::vector<float>& scores) const;
  static constexpr std::size_t kMany = 256;

 private:
  const Atoms& atoms_;
  const AtomCosines& cosines_;
  std::vector<float> factors_;  ///< of a cosine in a score: |a_j|, or 1 with `unit`
};

}  // namespace lancet
