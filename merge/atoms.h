#pragma once
// Rows of a table as the atoms of a matching pursuit (merge/pursuit.h), and their inner products.

#include <algorithm>
#include <cstdint>
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
  /// Bytes of what is held.
  [[nodiscard]] static std::uint64_t bytes(std::size_t atoms, std::size_t width) {
    return sizeof(float) * static_cast<std::uint64_t>(atoms) * width;
  }

 private:
  const TensorReader& table_;
  std::vector<std::uint32_t> rows_;
  std::size_t width_;
  std::vector<double> norms_;
  std::vector<float> held_;

  void decode(std::size_t tile, std::span<float> out) const;
};

/// Cosines between all atoms, [n, n], in steps of 1 / kOne.
class AtomCosines {
 public:
  static constexpr double kOne = 32767;

  /// Bytes that they take.
  [[nodiscard]] static std::uint64_t bytes(std::size_t atoms) {
    return sizeof(std::int16_t) * static_cast<std::uint64_t>(atoms) * atoms;
  }
  explicit AtomCosines(const Atoms& atoms);
  /// Only those of some atoms with all.
  AtomCosines(const Atoms& atoms, std::vector<std::uint32_t> some);

  /// Of one atom with all, 0 with atoms of zeros.
  [[nodiscard]] std::span<const std::int16_t> of(std::size_t atom) const {
    return std::span(values_).subspan(place(atom) * size_, size_);
  }
  /// No cosine is further from the true one.
  [[nodiscard]] double error() const noexcept { return error_; }

 private:
  std::size_t size_;
  double error_;
  std::vector<std::uint32_t> some_;   ///< sorted; empty: all
  std::vector<std::int16_t> values_;  ///< [some or all, all]

  [[nodiscard]] std::size_t place(std::size_t atom) const {
    if (some_.empty()) return atom;
    return static_cast<std::size_t>(std::ranges::lower_bound(some_, atom) - some_.begin());
  }
  void fill(const Atoms& atoms, std::size_t rows, std::size_t columns,
            std::span<const float> products);
};

}  // namespace lancet
