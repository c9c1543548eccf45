// Orthogonal matching pursuit beside a slow obvious one.
#include "merge/pursuit.h"

#include "core/dispatch.h"
#include "core/parallel.h"
#include "merge/ops/correlate.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Problem {
  std::size_t rows = 0, width = 0;
  Values table;
  std::vector<std::uint32_t> atoms, targets;

  Problem(std::size_t rows_in, std::size_t width_in, std::size_t atom_count, unsigned seed)
      : rows(rows_in), width(width_in), table(random_values(rows_in * width_in, seed)) {
    for (std::uint32_t r = 0; r < rows; ++r) (r < atom_count ? atoms : targets).push_back(r);
  }
  [[nodiscard]] MemoryReader reader() const {
    return {"table", {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(width)}, table};
  }
  [[nodiscard]] std::vector<SparseRow> run(const PursuitOptions& options,
                                           std::uint64_t memory = 1ULL << 30) const {
    const MemoryReader table_reader = reader();
    const Atoms all(table_reader, atoms, memory);
    return pursue(all, table_reader, targets, options, [](std::size_t) {});
  }
  [[nodiscard]] long double dot(const std::vector<long double>& a, std::uint32_t row) const {
    long double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += a[i] * table[row * width + i];
    return sum;
  }
};

/// Gaussian elimination with pivoting.
std::vector<long double> solve(std::vector<std::vector<long double>> a,
                               std::vector<long double> b) {
  const std::size_t n = b.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t r = k; r < n; ++r)
      if (std::fabs(a[r][k]) > std::fabs(a[pivot][k])) pivot = r;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    for (std::size_t r = k + 1; r < n; ++r) {
      const long double factor = a[r][k] / a[k][k];
      for (std::size_t c = k; c < n; ++c) a[r][c] -= factor * a[k][c];
      b[r] -= factor * b[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t c = k + 1; c < n; ++c) b[k] -= a[k][c] * b[c];
    b[k] /= a[k][k];
  }
  return b;
}

/// All inner products in long double, all coefficients anew by the normal equations in every step.
SparseRow obvious(const Problem& p, std::uint32_t target, std::size_t k, bool unit) {
  std::vector<long double> y(p.table.begin() + static_cast<std::ptrdiff_t>(target * p.width),
                             p.table.begin() + static_cast<std::ptrdiff_t>((target + 1) * p.width));
  std::vector<long double> residual = y, weights;
  SparseRow out;
  for (std::size_t step = 0; step < k; ++step) {
    long double best = 0;
    std::uint32_t chosen = 0;
    for (std::uint32_t a = 0; a < p.atoms.size(); ++a) {
      if (std::ranges::find(out.atoms, a) != out.atoms.end()) continue;
      long double norm = 0;
      for (std::size_t i = 0; i < p.width; ++i) {
        const long double x = p.table[p.atoms[a] * p.width + i];
        norm += x * x;
      }
      if (norm == 0) continue;
      const long double score =
          std::fabs(p.dot(residual, p.atoms[a])) / (unit ? std::sqrt(norm) : 1);
      if (score > best) {
        best = score;
        chosen = a;
      }
    }
    if (best < 1e-14L) break;
    out.atoms.push_back(chosen);
    const std::size_t n = out.atoms.size();
    std::vector<std::vector<long double>> gram(n, std::vector<long double>(n));
    std::vector<long double> right(n);
    for (std::size_t r = 0; r < n; ++r) {
      const std::uint32_t row = p.atoms[out.atoms[r]];
      std::vector<long double> atom(
          p.table.begin() + static_cast<std::ptrdiff_t>(row * p.width),
          p.table.begin() + static_cast<std::ptrdiff_t>((row + 1) * p.width));
      for (std::size_t c = 0; c < n; ++c) gram[r][c] = p.dot(atom, p.atoms[out.atoms[c]]);
      right[r] = p.dot(y, row);
    }
    weights = solve(gram, right);
    residual = y;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t i = 0; i < p.width; ++i)
        residual[i] -= weights[r] * p.table[p.atoms[out.atoms[r]] * p.width + i];
    }
  }
  long double left = 0, whole = 0;
  for (std::size_t i = 0; i < p.width; ++i) {
    left += residual[i] * residual[i];
    whole += y[i] * y[i];
  }
  out.weights.assign(weights.begin(), weights.end());
  out.residual = whole > 0 ? static_cast<double>(std::sqrt(left / whole)) : 0;
  return out;
}

void check_equal(const std::vector<SparseRow>& a, const std::vector<SparseRow>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].atoms == b[i].atoms);
    REQUIRE(a[i].weights == b[i].weights);
    REQUIRE(a[i].residual == b[i].residual);
  }
}

}  // namespace

TEST_CASE("pursuit: atoms, weights and residuals are those of the obvious search") {
  for (const bool unit : {false, true}) {
    for (const auto& [rows, width, atoms] :
         {std::tuple(230, 24, 200), std::tuple(150, 33, 90), std::tuple(40, 64, 12)}) {
      const Problem p(static_cast<std::size_t>(rows), static_cast<std::size_t>(width),
                      static_cast<std::size_t>(atoms), static_cast<unsigned>(rows));
      const auto found = p.run({.atoms = 8, .unit_atoms = unit});
      for (std::size_t t = 0; t < p.targets.size(); ++t) {
        const SparseRow wanted = obvious(p, p.targets[t], 8, unit);
        REQUIRE(found[t].atoms == wanted.atoms);
        for (std::size_t i = 0; i < wanted.weights.size(); ++i)
          REQUIRE(found[t].weights[i] == Approx(wanted.weights[i]).epsilon(tolerance::kPursuit));
        REQUIRE(found[t].residual == Approx(wanted.residual).epsilon(tolerance::kPursuit));
      }
    }
  }
}

TEST_CASE("pursuit: a near tie that float32 cannot see is decided as float64 does") {
  // Atom 1 is better than atom 0 by a part in 10^12; float32 rounds both to the same values.
  Problem p(3, 16, 2, 5);
  for (std::size_t i = 0; i < 16; ++i) {
    p.table[i] = 1;
    p.table[16 + i] = 1 + 1e-12;
    p.table[32 + i] = 1;
  }
  CHECK(p.run({.atoms = 1})[0].atoms == std::vector<std::uint32_t>{1});
  std::swap_ranges(p.table.begin(), p.table.begin() + 16, p.table.begin() + 16);
  CHECK(p.run({.atoms = 1})[0].atoms == std::vector<std::uint32_t>{0});
}

TEST_CASE("pursuit: equal atoms give the lower index, a repeated row is found whole, zeros stay") {
  Problem p(8, 16, 6, 3);
  std::copy_n(p.table.begin() + 2 * 16, 16, p.table.begin() + 4 * 16);  // atom 4 = atom 2
  std::copy_n(p.table.begin() + 2 * 16, 16, p.table.begin() + 6 * 16);  // target 0 = atom 2
  std::fill_n(p.table.begin() + 7 * 16, 16, 0.0);                       // target 1 = 0
  std::fill_n(p.table.begin(), 16, 0.0);                                // atom 0 = 0
  const auto found = p.run({.atoms = 4, .unit_atoms = true});
  CHECK(found[0].atoms == std::vector<std::uint32_t>{2});
  CHECK(found[0].weights[0] == Approx(1));
  CHECK(found[0].residual < 1e-15);
  CHECK(found[1].atoms.empty());
  CHECK(found[1].residual == 0);
}

TEST_CASE("pursuit: more atoms than dimensions end with the row itself, dependent ones are left") {
  Problem p(30, 6, 28, 9);
  for (const SparseRow& row : p.run({.atoms = 64})) {
    CHECK(row.atoms.size() <= 6);
    CHECK(row.residual < tolerance::kPursuit);
  }
}

TEST_CASE("pursuit: threads, batches, memory and instruction sets do not move a bit") {
  const Problem p(400, 40, 300, 11);
  const auto whole = p.run({.atoms = 6});
  check_equal(whole, p.run({.atoms = 6, .memory = 1}));            // row by row, no cosines
  check_equal(whole, p.run({.atoms = 6, .memory = 64 << 10}, 1));  // read in every pass
  parallel::set_threads(1);
  check_equal(whole, p.run({.atoms = 6}));
  parallel::set_threads(0);
  const Isa best = isa();
  limit_isa(Isa::kPlain);
  const auto plain = p.run({.atoms = 6});
  limit_isa(best);
  check_equal(whole, plain);
}

TEST_CASE("pursuit: with cosines and without them the choice is the same, also to the last atom",
          "[slow]") {
  for (const bool unit : {false, true}) {
    const Problem p(700, 48, 333, 21);
    const PursuitOptions with{.atoms = 48, .unit_atoms = unit};  // leaves nothing but rounding
    PursuitOptions without = with;
    without.memory = 1 << 16;
    REQUIRE(plan_pursuit(p.targets.size(), p.atoms.size(), p.width, with).cosines);
    REQUIRE_FALSE(plan_pursuit(p.targets.size(), p.atoms.size(), p.width, without).cosines);
    check_equal(p.run(with), p.run(without));
  }
}

TEST_CASE("pursuit: cosines between atoms are within their error") {
  const Problem p(150, 70, 150, 4);
  const MemoryReader reader = p.reader();
  const Atoms atoms(reader, p.atoms, 0);
  const AtomCosines cosines(atoms);
  for (std::size_t i = 0; i < atoms.size(); ++i) {
    for (std::size_t j = 0; j < atoms.size(); ++j) {
      const ops::In a = std::span(p.table).subspan(i * p.width, p.width);
      const ops::In b = std::span(p.table).subspan(j * p.width, p.width);
      const double exact = ops::dot(a, b) / std::sqrt(ops::dot(a, a) * ops::dot(b, b));
      REQUIRE(std::fabs(cosines.of(i)[j] / AtomCosines::kOne - exact) <= cosines.error());
    }
  }
}

TEST_CASE("pursuit: cosines of some atoms with all are those of all atoms, within their error") {
  const Problem p(150, 70, 150, 4);
  const MemoryReader reader = p.reader();
  const Atoms atoms(reader, p.atoms, 1 << 20);
  const AtomCosines all(atoms), some(atoms, {7, 149, 64, 7});
  for (const std::size_t i : std::vector<std::size_t>{7, 64, 149}) {
    for (std::size_t j = 0; j < atoms.size(); ++j) {
      const double difference = (all.of(i)[j] - some.of(i)[j]) / AtomCosines::kOne;
      REQUIRE(std::fabs(difference) <= 2 * all.error());
    }
  }
}

TEST_CASE("pursuit: a trial of the time takes little and needs rows and atoms") {
  const Problem p(700, 48, 333, 21);
  const MemoryReader reader = p.reader();
  const PursuitOptions by_cosines{.atoms = 16}, by_passes{.atoms = 16, .memory = 1 << 16};
  for (const PursuitOptions& options : {by_cosines, by_passes}) {
    for (const std::uint64_t held : std::vector<std::uint64_t>{1 << 20, 0})
      CHECK(pursuit_seconds(reader, {p.atoms, p.targets, held}, options) > 0);
    CHECK(pursuit_seconds(reader, {p.atoms, {}, 0}, options) == 0);
    CHECK(pursuit_seconds(reader, {{}, p.targets, 0}, options) == 0);
  }
}

TEST_CASE("correlate: no error is larger than its bound, for any remainder of the tiles") {
  for (const std::size_t width : std::vector<std::size_t>{1, 15, 16, 33, 300}) {
    const std::size_t n = 5, b = 7;
    const Values a = random_values(n * width, 1, 3), r = random_values(b * width, 2, 0.01);
    const std::vector<float> af(a.begin(), a.end()), rf(r.begin(), r.end());
    std::vector<float> out(n * b);
    ops::correlate(af, rf, width, out);
    for (std::size_t i = 0; i < b; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double exact = 0, an = 0, rn = 0;
        for (std::size_t k = 0; k < width; ++k) {
          exact += a[j * width + k] * r[i * width + k];
          an += a[j * width + k] * a[j * width + k];
          rn += r[i * width + k] * r[i * width + k];
        }
        CHECK(std::fabs(static_cast<double>(out[i * n + j]) - exact) <=
              ops::correlation_error(width) * std::sqrt(an * rn));
      }
    }
  }
}
