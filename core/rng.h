#pragma once
// Counter-based random values: Philox4x32-10 (Salmon et al., SC'11). A value depends on
// (seed, name, source, element) only, never on the order or the thread in which it is asked for.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/philox.h"

namespace lancet {

/// Stream of values for one (seed, name, source): name is a tensor or purpose, source e.g. a model
/// index. Key: splitmix64(FNV-1a 64 of the seed's eight little-endian bytes and the name), low word
/// first. Counter: {block low, block high, source, domain}; an element's block is element / 4 for
/// bits and uniform (domain 0), element / 2 for uniform64 (1) and normal (2).
class Random {
 public:
  Random(std::uint64_t seed, std::string_view name, std::uint32_t source = 0) noexcept;
  [[nodiscard]] std::uint32_t bits(std::uint64_t element) const noexcept;
  /// Uniform in [0, 1), 24 bits.
  [[nodiscard]] float uniform(std::uint64_t element) const noexcept;
  /// Uniform in [0, 1), 53 bits.
  [[nodiscard]] double uniform64(std::uint64_t element) const noexcept;
  /// Standard normal (Box-Muller on one block).
  [[nodiscard]] float normal(std::uint64_t element) const noexcept;
  /// out[i] = bits(first + i) / uniform(first + i) / normal(first + i), one block for four / four /
  /// two elements.
  void fill_bits(std::uint64_t first, std::span<std::uint32_t> out) const noexcept;
  void fill_uniform(std::uint64_t first, std::span<float> out) const noexcept;
  void fill_normal(std::uint64_t first, std::span<float> out) const noexcept;

 private:
  enum Domain : std::uint32_t { kBits = 0, kWide = 1, kNormal = 2 };
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 2> high_;
};

}  // namespace lancet
