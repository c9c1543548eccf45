#include "merge/pursuit.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/ops/correlate.h"
#include "merge/pursuit_screen.h"

namespace lancet {
namespace {

constexpr std::size_t kLargestBatch = 512;

std::size_t steps_of(const PursuitOptions& options, std::size_t atoms, std::size_t width) {
  return std::min(options.atoms, std::min(atoms, width));
}

/// All steps of a batch side by side: every step passes over the atoms once.
void fit_together(const Atoms& atoms, std::span<PursuitRow> rows, bool unit) {
  while (true) {
    std::vector<PursuitRow*> open;
    for (PursuitRow& row : rows) {
      if (!row.done()) open.push_back(&row);
    }
    if (open.empty()) return;
    const std::vector<Candidates> found = screen_residuals(atoms, {open.begin(), open.end()}, unit);
    parallel::for_each(open.size(), [&](std::size_t r) { open[r]->step(atoms, found[r], unit); });
  }
}

/// Row by row, by the cosines between atoms.
void fit_alone(const Atoms& atoms, const CosineScreen& screen, std::span<PursuitRow> rows,
               bool unit) {
  const std::vector<std::vector<float>> starts = screen.starts(rows);
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

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds of one product of correlate(), with all threads.
double seconds_per_product(std::size_t width) {
  constexpr std::size_t kRounds = 4, kRows = 256;
  const std::vector<float> tile(Atoms::kTile * width, 0.5F), residuals(kRows * width, 0.25F);
  const auto threads = static_cast<std::size_t>(parallel::threads());
  const double seconds = seconds_of([&] {
    parallel::for_each(kRounds * threads, [&](std::size_t) {
      std::vector<float> scores(kRows * Atoms::kTile);
      ops::correlate(tile, residuals, width, scores);
    });
  });
  return seconds / static_cast<double>(kRounds * threads * kRows * Atoms::kTile * width);
}

/// The same of subtract_columns(), from columns that are as far from the processor as they will be.
double seconds_per_cosine(std::size_t atoms) {
  constexpr std::size_t kColumns = 32, kMost = 64U << 20, kRounds = 2;
  const std::size_t held = std::clamp<std::size_t>(kMost / (sizeof(std::int16_t) * atoms), kColumns,
                                                   std::max(kColumns, atoms));
  const std::vector<std::int16_t> table(held * atoms, 1);
  const std::vector<float> start(atoms, 1), norms(atoms, 1), weights(kColumns, 0.001F);
  const auto threads = static_cast<std::size_t>(parallel::threads());
  const double seconds = seconds_of([&] {
    parallel::for_each(kRounds * threads, [&](std::size_t round) {
      std::vector<const std::int16_t*> columns;
      for (std::size_t c = 0; c < kColumns; ++c)
        columns.push_back(table.data() + (round * kColumns + c) * 61 % held * atoms);
      std::vector<float> scores(atoms);
      static_cast<void>(ops::subtract_columns(scores, start, columns, weights, norms, 0));
    });
  });
  return seconds / static_cast<double>(kRounds * threads * kColumns * atoms);
}

}  // namespace

PursuitPlan plan_pursuit(std::size_t targets, std::size_t atoms, std::size_t width,
                         const PursuitOptions& options) {
  const std::size_t steps = steps_of(options, atoms, width);
  PursuitPlan plan;
  // Making them costs about as much as half a step of as many rows.
  const bool worth = targets * steps >= atoms;
  plan.cosines = worth && AtomCosines::bytes(atoms) <= options.memory / 4 * 3;
  plan.bytes = plan.cosines ? AtomCosines::bytes(atoms) : 0;
  // Basis, residual in both widths, triangle; products with all atoms, or candidates.
  const std::uint64_t row = sizeof(double) * (steps * width + 2 * width + steps * steps) + 4096 +
                            (plan.cosines ? 2 * sizeof(float) * atoms : 0);
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
  const std::size_t steps = steps_of(options, atoms.size(), atoms.width());
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
    screen ? fit_alone(atoms, *screen, batch, options.unit_atoms)
           : fit_together(atoms, batch, options.unit_atoms);
    parallel::for_each(count, [&](std::size_t r) { out[first + r] = batch[r].finish(); });
    table.release(0, table.elements());
    progress(count);
  }
  return out;
}

double pursuit_seconds(std::size_t targets, std::size_t atoms, std::size_t width,
                       const PursuitOptions& options) {
  if (targets == 0 || atoms == 0) return 0;
  const auto steps = static_cast<double>(steps_of(options, atoms, width));
  const auto rows = static_cast<double>(targets), all = static_cast<double>(atoms);
  // The basis takes 2 k^2 width products in each direction, at about the same rate.
  const double product = seconds_per_product(width) * static_cast<double>(width);
  const double basis = rows * 4 * steps * steps * product;
  if (!plan_pursuit(targets, atoms, width, options).cosines)
    return basis + rows * steps * all * product;
  return basis + (rows + all / 2) * all * product +
         rows * all * steps * steps / 2 * seconds_per_cosine(atoms);
}

}  // namespace lancet
