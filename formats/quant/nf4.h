#pragma once
// NF4 and its double quantisation, and 8-bit rows, as bitsandbytes defines them (QLoRA: Dettmers et
// al. 2023, arXiv:2305.14314; LLM.int8: arXiv:2208.07339).
//   nf4    blocks of 64 values in row-major order, whatever the shape; code = the nearest of 16
//   values
//          to x / max|x|, two codes a byte, the first in the high half
//   double the blocks' maxima less their mean, in blocks of 256, as 8-bit codes of the signed
//   dynamic
//          map with a float32 maximum each
//   int8   each row: code = round(127 x / max|x|), half to even

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace lancet {

inline constexpr std::int64_t kNf4Block = 64;
inline constexpr std::int64_t kScaleBlock = 256;

/// What the 16 codes stand for, ascending.
[[nodiscard]] const std::array<float, 16>& nf4_values() noexcept;

/// Codes of whole blocks, two a byte, and one maximum a block. The last block may be shorter; an
/// odd last code has a zero half behind it. codes.size() == (values.size() + 1) / 2, maxima.size()
/// == ceil(values.size() / 64).
void encode_nf4(std::span<const float> values, std::span<std::uint8_t> codes,
                std::span<float> maxima);
/// Values [first, first + out.size()) from all codes, with the maxima of all blocks.
void decode_nf4(std::span<const std::uint8_t> codes, std::span<const float> maxima,
                std::int64_t first, std::span<float> out);

/// Maxima of blocks in 8 bits.
struct DoubleQuantised {
  std::vector<std::uint8_t> codes;
  std::vector<float> maxima;  ///< one for each 256 codes
  float mean = 0;
};
[[nodiscard]] DoubleQuantised quantise_maxima(std::span<const float> maxima);
/// Values [first, first + out.size()).
void restore_maxima(const DoubleQuantised& stored, std::int64_t first, std::span<float> out);

/// Codes of one row; returns its scale, max|x| / 127.
[[nodiscard]] float encode_int8(std::span<const float> row, std::span<std::int8_t> codes);

}  // namespace lancet
