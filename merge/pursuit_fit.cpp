#include "merge/pursuit_fit.h"

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/seconds.h"

namespace lancet {

FitSeconds fit_together(const Atoms& atoms, std::span<PursuitRow> rows, bool unit) {
  FitSeconds seconds;
  while (true) {
    std::vector<PursuitRow*> open;
    for (PursuitRow& row : rows) {
      if (!row.done()) open.push_back(&row);
    }
    if (open.empty()) return seconds;
    std::vector<Candidates> found;
    seconds.screen += seconds_of([&] {
      found = screen_residuals(atoms, {open.begin(), open.end()}, unit);
    });
    seconds.step += seconds_of([&] {
      parallel::for_each(open.size(), [&](std::size_t r) { open[r]->step(atoms, found[r], unit); });
    });
  }
}

void fit_alone(const Atoms& atoms, const CosineScreen& screen, std::span<PursuitRow> rows,
               const std::vector<std::vector<float>>& starts, bool unit) {
  parallel::for_each(rows.size(), [&](std::size_t r) {
    check_interrupted();
    std::vector<float> scores;
    while (!rows[r].done()) {
      Candidates found = screen.look(rows[r], starts[r], scores);
      if (found.size() > CosineScreen::kMany)  // little is left: float32 of the residual tells more
        found = screen_residuals(atoms, {&rows[r]}, unit)[0];
      rows[r].step(atoms, found, unit);
    }
  });
}

}  // namespace lancet
