#include "merge/pursuit.h"

#include <algorithm>
#include <optional>

#include "core/parallel.h"
#include "merge/pursuit_fit.h"

namespace lancet {
namespace {

constexpr std::size_t kLargestBatch = 512;

}  // namespace

std::size_t pursuit_steps(std::size_t atoms, std::size_t width, const PursuitOptions& options) {
  return std::min(options.atoms, std::min(atoms, width));
}

PursuitPlan plan_pursuit(std::size_t targets, std::size_t atoms, std::size_t width,
                         const PursuitOptions& options) {
  const std::size_t steps = pursuit_steps(atoms, width, options);
  PursuitPlan plan;
  // Making them costs about as much as half a step of as many rows.
  const bool worth = targets * steps >= atoms;
  plan.cosines = worth && AtomCosines::bytes(atoms) <= options.memory / 4 * 3;
  plan.bytes = plan.cosines ? AtomCosines::bytes(atoms) : 0;
  // Basis, residual in both widths, triangle; products with all atoms.
  const std::uint64_t row = sizeof(double) * (steps * width + width + steps * steps) +
                            sizeof(float) * (width + (plan.cosines ? atoms : 0)) + 1024;
  plan.batch = static_cast<std::size_t>(
      std::clamp<std::uint64_t>((options.memory - plan.bytes) / row, 1,
                                std::min(kLargestBatch, std::max<std::size_t>(targets, 1))));
  plan.bytes += plan.batch * row;
  return plan;
}

std::vector<SparseRow> pursue(const Atoms& atoms, const TensorReader& table,
                              std::span<const std::uint32_t> targets, const PursuitOptions& options,
                              const std::function<void(std::size_t)>& progress) {
  std::vector<SparseRow> out(targets.size());
  const PursuitPlan plan = plan_pursuit(targets.size(), atoms.size(), atoms.width(), options);
  const std::size_t steps = pursuit_steps(atoms.size(), atoms.width(), options);
  std::optional<AtomCosines> cosines;
  std::optional<CosineScreen> screen;
  if (plan.cosines) {
    cosines.emplace(atoms);
    screen.emplace(atoms, *cosines, options.unit_atoms);
  }
  std::vector<PursuitRow> rows(plan.batch, PursuitRow(steps, atoms.width()));
  for (std::size_t first = 0; first < targets.size(); first += plan.batch) {
    const std::size_t count = std::min(plan.batch, targets.size() - first);
    const std::span batch = std::span(rows).first(count);
    parallel::for_each(count, [&](std::size_t r) { batch[r].begin(table, targets[first + r]); });
    if (screen) {
      fit_alone(atoms, *screen, batch, screen->starts(batch), options.unit_atoms);
    } else {
      fit_together(atoms, batch, options.unit_atoms);
    }
    parallel::for_each(count, [&](std::size_t r) { out[first + r] = batch[r].finish(); });
    table.release(0, table.elements());
    progress(count);
  }
  return out;
}

}  // namespace lancet
