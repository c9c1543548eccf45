#pragma once
// Orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad 1993): rows written as sums of few
// atoms.
//   r_0 = y                                                                             [width]
//   j_t = argmax_j |<a_j, r_{t-1}>|              (the lower j of equal ones), or of <a_j, r> /
//   |a_j| c   = argmin |y - sum_s c_s a_{j_s}|,   r_t = y - sum_s c_s a_{j_s}
// Precision: float64, by an orthonormal basis (Gram-Schmidt, twice) and a triangular solve. A
// float32 screen with a bound on its error (pursuit_screen.h) leaves the atoms that may be the
// largest; float64 decides among those, so that the choice is that of float64 alone. Where the
// cosines between all atoms fit the memory, a step costs [atoms so far] products for each atom (the
// idea of Rubinstein, Zibulevsky, Elad 2008, "Batch OMP"), else [width].

#include <functional>

#include "merge/pursuit_row.h"

namespace lancet {

struct PursuitOptions {
  std::size_t atoms = 64;   ///< at most, of one row
  bool unit_atoms = false;  ///< chosen by cosine instead of inner product
  std::uint64_t memory = 1ULL << 29;
};

/// Rows `targets` of `table` ([rows, atoms.width()]). In batches that fit the memory; the result
/// does not depend on them or on threads. `progress` gets the number of rows that are done since
/// the last call.
[[nodiscard]] std::vector<SparseRow> pursue(const Atoms& atoms, const TensorReader& table,
                                            std::span<const std::uint32_t> targets,
                                            const PursuitOptions& options,
                                            const std::function<void(std::size_t)>& progress);

/// How pursue() goes about it.
struct PursuitPlan {
  bool cosines = false;   ///< between all atoms are held
  std::size_t batch = 1;  ///< rows under way at a time
  std::uint64_t bytes = 0;
};
[[nodiscard]] PursuitPlan plan_pursuit(std::size_t targets, std::size_t atoms, std::size_t width,
                                       const PursuitOptions& options);
/// Atoms that a row can get.
[[nodiscard]] std::size_t pursuit_steps(std::size_t atoms, std::size_t width,
                                        const PursuitOptions& options);

/// Rows of a table, and what Atoms may hold of it.
struct PursuitWork {
  std::span<const std::uint32_t> atoms, targets;
  std::uint64_t memory = 0;
};
/// Seconds that Atoms and pursue() will take, from a trial: some rows are fitted to the end.
[[nodiscard]] double pursuit_seconds(const TensorReader& table, const PursuitWork& work,
                                     const PursuitOptions& options);

}  // namespace lancet
