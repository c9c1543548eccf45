#pragma once
// The two ways in which a batch of rows goes through a matching pursuit (merge/pursuit.h): the same
// atoms and weights.

#include "merge/pursuit_screen.h"

namespace lancet {

/// What the parts of a fit took by the clock.
struct FitSeconds {
  double screen = 0;  ///< grows with the atoms
  double step = 0;    ///< does not
};

/// All steps of a batch side by side: every step passes over the atoms once.
FitSeconds fit_together(const Atoms& atoms, std::span<PursuitRow> rows, bool unit);

/// Row by row, by the cosines between atoms. `starts`: CosineScreen::starts of the rows.
void fit_alone(const Atoms& atoms, const CosineScreen& screen, std::span<PursuitRow> rows,
               const std::vector<std::vector<float>>& starts, bool unit);

}  // namespace lancet
