// pursuit_seconds of merge/pursuit.h: a little of the real work, on the real rows.
#include <algorithm>

#include "core/parallel.h"
#include "core/seconds.h"
#include "merge/pursuit.h"
#include "merge/pursuit_fit.h"

namespace lancet {
namespace {

constexpr std::size_t kFewAtoms = 2048;    ///< that show what grows with their number
constexpr std::size_t kFewRows = 128;      ///< of a batch that passes over the atoms
constexpr std::size_t kFewColumns = 1024;  ///< of cosines

/// At most `count` of the ids, from all over them.
std::vector<std::uint32_t> spread(std::span<const std::uint32_t> ids, std::size_t count) {
  count = std::min(count, ids.size());
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(ids[i * ids.size() / count]);
  return out;
}

class Trial {
 public:
  Trial(const TensorReader& table, const PursuitWork& work, const PursuitOptions& options)
      : table_(table),
        work_(work),
        options_(options),
        width_(static_cast<std::size_t>(table.shape().at(1))),
        plan_(plan_pursuit(work.targets.size(), work.atoms.size(), width_, options)),
        few_ids_(spread(work.atoms, kFewAtoms)),
        growth_(ratio(work.atoms.size(), few_ids_.size())) {}

  double seconds() {
    std::optional<Atoms> few;
    const bool held = Atoms::bytes(work_.atoms.size(), width_) <= work_.memory;
    const double reading =
        seconds_of([&] { few.emplace(table_, few_ids_, held ? work_.memory : 0); }) * growth_;
    return reading + (plan_.cosines ? by_cosines(*few) : by_passes(*few));
  }

 private:
  const TensorReader& table_;
  const PursuitWork& work_;
  const PursuitOptions& options_;
  std::size_t width_;
  PursuitPlan plan_;
  std::vector<std::uint32_t> few_ids_;
  double growth_;  ///< all atoms by these few

  static double ratio(std::size_t all, std::size_t few) {
    return static_cast<double>(all) / static_cast<double>(few);
  }

  /// At most `count` targets at their beginning.
  std::vector<PursuitRow> rows(std::size_t count) const {
    const std::vector<std::uint32_t> ids = spread(work_.targets, count);
    const std::size_t steps = pursuit_steps(work_.atoms.size(), width_, options_);
    std::vector<PursuitRow> out(ids.size(), PursuitRow(steps, width_));
    parallel::for_each(out.size(), [&](std::size_t r) { out[r].begin(table_, ids[r]); });
    return out;
  }

  double by_passes(const Atoms& few) const {
    double best = 0;
    for (int round = 0; round < 2; ++round) {  // the first also wakes threads and takes memory
      std::vector<PursuitRow> batch = rows(std::min(plan_.batch, kFewRows));
      const FitSeconds fit = fit_together(few, batch, options_.unit_atoms);
      const double all = ratio(work_.targets.size(), batch.size());
      const double seconds = all * (fit.screen * growth_ + fit.step);
      best = best > 0 ? std::min(best, seconds) : seconds;
    }
    return best;
  }

  double by_cosines(const Atoms& few) const {
    std::optional<AtomCosines> cosines;
    const double making = seconds_of([&] { cosines.emplace(few); }) * growth_ * growth_;
    const std::vector<PursuitRow> batch = rows(plan_.batch);
    const CosineScreen screen(few, *cosines, options_.unit_atoms);
    const double starting = seconds_of([&] { static_cast<void>(screen.starts(batch)); }) * growth_;
    return making + starting * ratio(work_.targets.size(), batch.size()) + alone();
  }

  /// A few rows among all atoms; of the cosines only those that they ask for are made before.
  double alone() const {
    const Atoms all(table_, {work_.atoms.begin(), work_.atoms.end()}, work_.memory);
    const std::size_t steps = pursuit_steps(work_.atoms.size(), width_, options_);
    const auto threads = static_cast<std::size_t>(parallel::threads());
    const std::size_t count = std::max(2 * threads, kFewColumns / steps);
    std::vector<PursuitRow> tried = rows(count), timed = tried;
    fit_together(all, tried, options_.unit_atoms);
    std::vector<std::uint32_t> asked;
    for (const PursuitRow& row : tried)
      asked.insert(asked.end(), row.atoms().begin(), row.atoms().end());
    const AtomCosines cosines(all, std::move(asked));
    const CosineScreen screen(all, cosines, options_.unit_atoms);
    const auto starts = screen.starts(timed);
    const double fit =
        seconds_of([&] { fit_alone(all, screen, timed, starts, options_.unit_atoms); });
    return fit * ratio(work_.targets.size(), timed.size());
  }
};

}  // namespace

double pursuit_seconds(const TensorReader& table, const PursuitWork& work,
                       const PursuitOptions& options) {
  if (work.targets.empty() || work.atoms.empty()) return 0;
  const double seconds = Trial(table, work, options).seconds();
  table.release(0, table.elements());
  return seconds;
}

}  // namespace lancet
