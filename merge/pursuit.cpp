#include "merge/pursuit.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/ops/correlate.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

constexpr double kDependent = 1e-10;  ///< an atom this near to the span of the others adds nothing
constexpr double kNothingLeft = 1e-13;  ///< of |y|: what remains is rounding
constexpr std::size_t kLargestBatch = 512;

/// One row under way: y = sum z_t q_t + residual, atoms = basis * triangle.
class Pursuit {
 public:
  Pursuit(std::size_t steps, std::size_t width)
      : steps_(steps),
        width_(width),
        residual_(width),
        basis_(steps * width),
        triangle_(steps * steps) {}

  void begin(const TensorReader& table, std::uint32_t row) {
    table.read(row * static_cast<std::uint64_t>(width_), residual_);
    norm_ = left_ = std::sqrt(ops::dot(residual_, residual_));
    out_ = {};
    heights_.clear();
    done_ = norm_ == 0;
  }

  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] ops::In residual() const { return residual_; }
  [[nodiscard]] double left() const { return left_; }

  /// Takes the best of the candidates, sorted; none helps: the row is done.
  void step(const Atoms& atoms, const std::vector<std::uint32_t>& candidates, bool unit) {
    std::vector<double> best(width_), row(width_);
    double largest = 0;
    std::uint32_t chosen = 0;
    for (const std::uint32_t atom : candidates) {
      if (std::ranges::find(out_.atoms, atom) != out_.atoms.end()) continue;
      atoms.read(atom, row);
      const double scale = unit ? 1 / atoms.norm(atom) : 1;
      const double score = std::fabs(ops::dot(row, residual_)) * scale;
      if (!(score > largest)) continue;
      largest = score;
      chosen = atom;
      best.swap(row);
    }
    done_ = !(largest > 0) || !add(chosen, best, atoms.norm(chosen)) ||
            out_.atoms.size() == steps_ || left_ <= kNothingLeft * norm_;
  }

  SparseRow finish() {
    const std::size_t n = out_.atoms.size();
    out_.weights.assign(n, 0);
    for (std::size_t t = n; t-- > 0;) {
      double sum = heights_[t];
      for (std::size_t s = t + 1; s < n; ++s) sum -= triangle_[t * steps_ + s] * out_.weights[s];
      out_.weights[t] = sum / triangle_[t * steps_ + t];
    }
    out_.residual = norm_ > 0 ? left_ / norm_ : 0;
    return std::move(out_);
  }

 private:
  std::size_t steps_, width_;
  std::vector<double> residual_, basis_, triangle_;  ///< [width], [steps, width], [steps, steps]
  std::vector<double> heights_;                      ///< z_t
  double norm_ = 0, left_ = 0;
  bool done_ = false;
  SparseRow out_;

  ops::Out basis(std::size_t t) { return std::span(basis_).subspan(t * width_, width_); }

  /// False where the atom lies in the span of those before.
  bool add(std::uint32_t atom, ops::In values, double norm) {
    const std::size_t t = out_.atoms.size();
    const ops::Out q = basis(t);
    ops::copy(q, values);
    for (std::size_t s = 0; s < t; ++s) triangle_[s * steps_ + t] = 0;
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t s = 0; s < t; ++s) {
        const double share = ops::dot(q, basis(s));
        ops::add_scaled(q, basis(s), -share);
        triangle_[s * steps_ + t] += share;
      }
    }
    const double height = std::sqrt(ops::dot(q, q));
    if (height <= kDependent * norm) return false;
    ops::scale(q, 1 / height);
    triangle_[t * steps_ + t] = height;
    heights_.push_back(ops::dot(q, residual_));
    ops::add_scaled(residual_, q, -heights_.back());
    left_ = std::sqrt(ops::dot(residual_, residual_));
    out_.atoms.push_back(atom);
    return true;
  }
};

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
  std::vector<std::uint32_t> sorted() const {
    std::vector<std::uint32_t> out;
    for (const auto& [atom, bound] : atoms) {
      if (bound >= least) out.push_back(atom);
    }
    std::ranges::sort(out);
    return out;
  }
};

/// The candidates of every row of the batch: all atoms against all residuals.
std::vector<Screened> screen(const Atoms& atoms, const std::vector<const Pursuit*>& rows,
                             bool unit) {
  const std::size_t width = atoms.width(), count = rows.size();
  std::vector<float> residuals(count * width);
  parallel::for_each(count, [&](std::size_t r) {
    std::ranges::transform(rows[r]->residual(),
                           residuals.begin() + static_cast<std::ptrdiff_t>(r * width),
                           [](double x) { return static_cast<float>(x); });
  });
  const double relative = ops::correlation_error(width);
  const std::size_t slots = static_cast<std::size_t>(parallel::threads()) + 1;
  std::vector<std::vector<Screened>> found(slots);
  std::vector<Screened> out(count);
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
                              found[slot][r].least = out[r].least;
                          },
                      .work = look,
                      .finish =
                          [&](std::size_t, std::size_t slot) {
                            for (std::size_t r = 0; r < count; ++r) out[r].add(found[slot][r]);
                          }});
  return out;
}

}  // namespace

Atoms::Atoms(const TensorReader& table, std::vector<std::uint32_t> rows, std::uint64_t memory)
    : table_(table),
      rows_(std::move(rows)),
      width_(static_cast<std::size_t>(table.shape().at(1))),
      norms_(rows_.size()) {
  const bool fits = rows_.size() * width_ * sizeof(float) <= memory;
  if (fits) held_.resize(rows_.size() * width_);
  parallel::for_each(tiles(), [&](std::size_t t) {
    check_interrupted();
    const std::size_t begin = t * kTile, count = std::min(kTile, size() - begin);
    std::vector<double> values(width_);
    for (std::size_t a = begin; a < begin + count; ++a) {
      read(a, values);
      norms_[a] = std::sqrt(ops::dot(values, values));
    }
    if (fits) decode(t, std::span(held_).subspan(begin * width_, count * width_));
  });
}

void Atoms::read(std::size_t atom, std::span<double> out) const {
  table_.read(rows_[atom] * static_cast<std::uint64_t>(width_), out);
}

void Atoms::decode(std::size_t tile, std::span<float> out) const {
  std::vector<double> values(width_);
  for (std::size_t a = 0; a * width_ < out.size(); ++a) {
    read(tile * kTile + a, values);
    std::ranges::transform(values, out.begin() + static_cast<std::ptrdiff_t>(a * width_),
                           [](double x) { return static_cast<float>(x); });
  }
}

std::span<const float> Atoms::tile(std::size_t tile, std::vector<float>& scratch) const {
  const std::size_t begin = tile * kTile * width_;
  const std::size_t count = std::min(kTile, size() - tile * kTile) * width_;
  if (!held_.empty()) return std::span(held_).subspan(begin, count);
  scratch.resize(count);
  decode(tile, scratch);
  return scratch;
}

std::uint64_t pursuit_row_bytes(std::size_t atoms, std::size_t width) {
  // Basis, residual in both widths, triangle; scores of a tile and candidates.
  return sizeof(double) * (atoms * width + 2 * width + atoms * atoms) + 4096;
}

std::size_t pursuit_batch(const PursuitOptions& options, std::size_t width) {
  const std::uint64_t fit = options.memory / pursuit_row_bytes(options.atoms, width);
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(fit, 1, kLargestBatch));
}

std::vector<SparseRow> pursue(const Atoms& atoms, const TensorReader& table,
                              std::span<const std::uint32_t> targets, const PursuitOptions& options,
                              const std::function<void(std::size_t)>& progress) {
  std::vector<SparseRow> out(targets.size());
  const std::size_t steps = std::min(options.atoms, std::min(atoms.size(), atoms.width()));
  const std::size_t batch = std::min(pursuit_batch(options, atoms.width()), targets.size());
  std::vector<Pursuit> rows(batch, Pursuit(steps, atoms.width()));
  for (std::size_t first = 0; first < targets.size(); first += batch) {
    const std::size_t count = std::min(batch, targets.size() - first);
    parallel::for_each(count, [&](std::size_t r) { rows[r].begin(table, targets[first + r]); });
    for (std::size_t step = 0; step < steps; ++step) {
      std::vector<const Pursuit*> open;
      std::vector<Pursuit*> next;
      for (std::size_t r = 0; r < count; ++r) {
        if (rows[r].done()) continue;
        open.push_back(&rows[r]);
        next.push_back(&rows[r]);
      }
      if (open.empty()) break;
      const std::vector<Screened> found = screen(atoms, open, options.unit_atoms);
      parallel::for_each(next.size(), [&](std::size_t r) {
        next[r]->step(atoms, found[r].sorted(), options.unit_atoms);
      });
    }
    parallel::for_each(count, [&](std::size_t r) { out[first + r] = rows[r].finish(); });
    table.release(0, table.elements());
    progress(count);
  }
  return out;
}

double pursuit_seconds(std::size_t targets, std::size_t atoms, std::size_t width,
                       const PursuitOptions& options) {
  if (targets == 0 || atoms == 0) return 0;
  constexpr std::size_t kRounds = 4, kRows = 256;
  const std::vector<float> tile(Atoms::kTile * width, 0.5F), residuals(kRows * width, 0.25F);
  const auto start = std::chrono::steady_clock::now();
  parallel::for_each(kRounds * static_cast<std::size_t>(parallel::threads()), [&](std::size_t) {
    std::vector<float> scores(kRows * Atoms::kTile);
    ops::correlate(tile, residuals, width, scores);
  });
  const double trial =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double done = static_cast<double>(kRounds * kRows * Atoms::kTile) * parallel::threads();
  const auto steps = static_cast<double>(std::min(options.atoms, std::min(atoms, width)));
  // Screening, and the 4 k^2 width of the basis that goes at about the same rate per product.
  const double products =
      static_cast<double>(targets) * steps * (static_cast<double>(atoms) + 4 * steps);
  return trial * products / done;
}

}  // namespace lancet
