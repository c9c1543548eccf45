#pragma once
// Orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad 1993): rows written as sums of few
// atoms.
//   r_0 = y                                                                             [width]
//   j_t = argmax_j |<a_j, r_{t-1}>|              (the lower j of equal ones), or of <a_j, r> /
//   |a_j| c   = argmin |y - sum_s c_s a_{j_s}|,   r_t = y - sum_s c_s a_{j_s}
// Precision: float64, by an orthonormal basis (Gram-Schmidt, twice) and a triangular solve. A
// float32 screen with a bound on its error leaves the atoms that may be the largest; float64
// decides among those, so that the choice is that of float64 alone.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "merge/reader.h"

namespace lancet {

/// Rows of a table that may be used as atoms: held as float32 where they fit `memory`, else read
/// again in every pass.
class Atoms {
 public:
  static constexpr std::size_t kTile = 64;  ///< atoms that are screened at a time

  /// `table`: [rows, width]; it must outlive this. Reads all rows once.
  Atoms(const TensorReader& table, std::vector<std::uint32_t> rows, std::uint64_t memory);

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  [[nodiscard]] std::uint32_t row(std::size_t atom) const { return rows_[atom]; }
  [[nodiscard]] double norm(std::size_t atom) const { return norms_[atom]; }
  [[nodiscard]] std::size_t tiles() const noexcept { return (size() + kTile - 1) / kTile; }
  /// The atoms [tile * kTile, ...) as float32; `scratch` holds them where the table is not held.
  [[nodiscard]] std::span<const float> tile(std::size_t tile, std::vector<float>& scratch) const;
  void read(std::size_t atom, std::span<double> out) const;

 private:
  const TensorReader& table_;
  std::vector<std::uint32_t> rows_;
  std::size_t width_;
  std::vector<double> norms_;
  std::vector<float> held_;

  void decode(std::size_t tile, std::span<float> out) const;
};

struct PursuitOptions {
  std::size_t atoms = 64;   ///< at most, of one row
  bool unit_atoms = false;  ///< chosen by cosine instead of inner product
  std::uint64_t memory = 1ULL << 29;
};

/// y is near the sum of weights_i atoms_i.
struct SparseRow {
  std::vector<std::uint32_t> atoms;  ///< in the order they were chosen
  std::vector<double> weights;
  double residual = 0;  ///< |y - sum| / |y|, 0 for y = 0
};

/// Rows `targets` of `table` ([rows, atoms.width()]). In batches that fit the memory; the result
/// does not depend on them or on threads. `progress` gets the number of rows that are done since
/// the last call.
[[nodiscard]] std::vector<SparseRow> pursue(const Atoms& atoms, const TensorReader& table,
                                            std::span<const std::uint32_t> targets,
                                            const PursuitOptions& options,
                                            const std::function<void(std::size_t)>& progress);

/// Bytes that pursue() holds for one row under way, and rows that it takes at a time.
[[nodiscard]] std::uint64_t pursuit_row_bytes(std::size_t atoms, std::size_t width);
[[nodiscard]] std::size_t pursuit_batch(const PursuitOptions& options, std::size_t width);
/// Seconds that pursue() will take, from a trial of its inner loop.
[[nodiscard]] double pursuit_seconds(std::size_t targets, std::size_t atoms, std::size_t width,
                                     const PursuitOptions& options);

}  // namespace lancet
