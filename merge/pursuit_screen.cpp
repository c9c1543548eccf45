#include "merge/pursuit_screen.h"

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/ops/correlate.h"

namespace lancet {
namespace {

constexpr double kRounding = 1.0 / (1 << 24);  ///< of float32
constexpr double kUp = 1 + 16 * kRounding;     ///< above what a few roundings take away

/// Atoms that may have the largest score with one residual: an upper bound each.
struct Screened {
  double least = 0;  ///< the largest score is no less
  std::vector<std::pair<std::uint32_t, double>> atoms;

  void add(std::uint32_t atom, double score, double error) {
    if (score + error < least) return;
    atoms.emplace_back(atom, score + error);
    least = std::max(least, score - error);
  }
  void add(const Screened& other) {
    least = std::max(least, other.least);
    for (const auto& each : other.atoms) {
      if (each.second >= least) atoms.push_back(each);
    }
  }
  Candidates sorted() const {
    Candidates out;
    for (const auto& [atom, bound] : atoms) {
      if (bound >= least) out.push_back(atom);
    }
    std::ranges::sort(out);
    return out;
  }
};

/// Residuals as float32, [rows, width].
template <typename RowAt>
std::vector<float> residuals_of(std::size_t count, std::size_t width, const RowAt& row_at) {
  std::vector<float> out(count * width);
  parallel::for_each(count, [&](std::size_t r) {
    std::ranges::transform(row_at(r).residual(),
                           out.begin() + static_cast<std::ptrdiff_t>(r * width),
                           [](double x) { return static_cast<float>(x); });
  });
  return out;
}

}  // namespace

std::vector<Candidates> screen_residuals(const Atoms& atoms,
                                         const std::vector<const PursuitRow*>& rows, bool unit) {
  const std::size_t width = atoms.width(), count = rows.size();
  const std::vector<float> residuals =
      residuals_of(count, width, [&](std::size_t r) -> const PursuitRow& { return *rows[r]; });
  const double relative = ops::correlation_error(width);
  const std::size_t slots = static_cast<std::size_t>(parallel::threads()) + 1;
  std::vector<std::vector<Screened>> found(slots);
  std::vector<Screened> best(count);
  std::vector<std::vector<float>> scratch(slots), scores(slots);
  const auto look = [&](std::size_t t, std::size_t slot) {
    const std::span<const float> tile = atoms.tile(t, scratch[slot]);
    const std::size_t size = tile.size() / width;
    scores[slot].resize(count * size);
    ops::correlate(tile, residuals, width, scores[slot]);
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t a = 0; a < size; ++a) {
        const std::size_t atom = t * Atoms::kTile + a;
        const double norm = atoms.norm(atom);
        if (norm == 0) continue;
        const double score = std::fabs(static_cast<double>(scores[slot][r * size + a]));
        const double error = relative * norm * rows[r]->left();
        found[slot][r].add(static_cast<std::uint32_t>(atom), unit ? score / norm : score,
                           unit ? error / norm : error);
      }
    }
  };
  parallel::pipeline(atoms.tiles(), slots,
                     {.begin =
                          [&](std::size_t, std::size_t slot) {
                            check_interrupted();
                            found[slot].assign(count, {});
                            for (std::size_t r = 0; r < count; ++r)
                              found[slot][r].least = best[r].least;
                          },
                      .work = look,
                      .finish =
                          [&](std::size_t, std::size_t slot) {
                            for (std::size_t r = 0; r < count; ++r) best[r].add(found[slot][r]);
                          }});
  std::vector<Candidates> out;
  out.reserve(best.size());
  for (const Screened& each : best) out.push_back(each.sorted());
  return out;
}

CosineScreen::CosineScreen(const Atoms& atoms, const AtomCosines& cosines, bool unit)
    : atoms_(atoms), cosines_(cosines), factors_(atoms.size()) {
  for (std::size_t a = 0; a < atoms.size(); ++a) {
    const double norm = atoms.norm(a);
    factors_[a] = static_cast<float>(unit && norm > 0 ? 1 : norm);
  }
}

std::vector<std::vector<float>> CosineScreen::starts(std::span<const PursuitRow> rows) const {
  const std::size_t width = atoms_.width(), count = rows.size();
  const std::vector<float> residuals =
      residuals_of(count, width, [&](std::size_t r) -> const PursuitRow& { return rows[r]; });
  std::vector<std::vector<float>> out(count, std::vector<float>(atoms_.size()));
  parallel::for_each(atoms_.tiles(), [&](std::size_t t) {
    check_interrupted();
    std::vector<float> scratch;
    const std::span<const float> tile = atoms_.tile(t, scratch);
    const std::size_t size = tile.size() / width;
    std::vector<float> products(count * size);
    ops::correlate(tile, residuals, width, products);
    for (std::size_t a = 0; a < size; ++a) {
      const std::size_t atom = t * Atoms::kTile + a;
      const double norm = atoms_.norm(atom);
      for (std::size_t r = 0; r < count && norm > 0; ++r)
        out[r][atom] = static_cast<float>(static_cast<double>(products[r * size + a]) / norm);
    }
  });
  return out;
}

Candidates CosineScreen::look(const PursuitRow& row, std::span<const float> start,
                              std::vector<float>& scores) const {
  const std::vector<double> weights = row.weights();
  std::vector<const std::int16_t*> columns;
  std::vector<float> factors;
  double reach = 0;  // sum |w_s| |a_s|
  for (std::size_t s = 0; s < weights.size(); ++s) {
    const std::uint32_t atom = row.atoms()[s];
    const double weight = weights[s] * atoms_.norm(atom);
    columns.push_back(cosines_.of(atom).data());
    factors.push_back(static_cast<float>(weight / AtomCosines::kOne));
    reach += std::fabs(weight);
  }
  // Of the first product, of the cosines, and of the roundings of the sum, whose terms are no
  // larger.
  const double error = ops::correlation_error(atoms_.width()) * row.norm() +
                       cosines_.error() * reach +
                       kRounding * static_cast<double>(weights.size() + 4) * (row.norm() + reach);
  const auto bound = static_cast<float>(kUp * error);
  scores.resize(start.size());
  const float least = ops::subtract_columns(scores, start, columns, factors, factors_, bound);
  Candidates out(start.size());
  out.resize(ops::find_scores(scores, factors_, bound,
                              static_cast<float>(static_cast<double>(least) / kUp), out));
  std::erase_if(out, [&](std::uint32_t atom) { return atoms_.norm(atom) == 0; });
  return out;
}

}  // namespace lancet
