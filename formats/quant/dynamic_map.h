#pragma once
// Dynamic tree quantisation to 8 bits (arXiv:2110.02861): 256 values between -1 and 1 (or 0 and 1)
// whose distances grow with their size, seven orders of magnitude apart; a block is stored as codes
// and its largest size.

#include <array>
#include <cstdint>
#include <span>

namespace lancet {

class DynamicMap {
 public:
  explicit DynamicMap(bool with_sign);

  /// The 256 values, ascending.
  [[nodiscard]] const std::array<float, 256>& values() const noexcept { return values_; }
  [[nodiscard]] std::uint8_t zero_code() const noexcept { return nearest(0); }
  /// The code of the nearest value; of two, the lower one. Not for NaN.
  [[nodiscard]] std::uint8_t nearest(float value) const noexcept;
  void decode(std::span<const std::uint8_t> codes, float scale, float* out) const noexcept;
  /// Returns the scale: the largest size of a value.
  [[nodiscard]] float encode(std::span<const float> values, std::uint8_t* codes) const noexcept;

 private:
  std::array<float, 256> values_{};
  std::array<float, 256> borders_{};  ///< between neighbours; behind them infinity
  /// By the upper half of a float's bits: the code of the least of those floats.
  std::array<std::uint8_t, 1 << 16> first_{};
  int most_borders_ = 0;  ///< between floats of equal upper halves
};

[[nodiscard]] const DynamicMap& signed_map();
[[nodiscard]] const DynamicMap& unsigned_map();

}  // namespace lancet
