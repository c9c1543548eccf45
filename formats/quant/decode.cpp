// decode_f32: stored values of any numeric type -> float32.

#include "formats/quant/decode.h"

#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "core/error.h"
#include "formats/quant/ggml_blocks.h"
#include "formats/quant/half.h"
#include "formats/quant/simd.h"

namespace lancet {
namespace {

/// A float of few bits: sign, `exponent_bits`, `mantissa_bits`, no infinity and no NaN; subnormals
/// as in IEEE.
constexpr float small_float(unsigned code, unsigned exponent_bits, unsigned mantissa_bits,
                            int bias) {
  const unsigned exponent = (code >> mantissa_bits) & ((1U << exponent_bits) - 1U);
  const unsigned mantissa = code & ((1U << mantissa_bits) - 1U);
  const unsigned significand = exponent == 0 ? mantissa : mantissa | (1U << mantissa_bits);
  int power =
      static_cast<int>(exponent == 0 ? 1 : exponent) - bias - static_cast<int>(mantissa_bits);
  auto value = static_cast<float>(significand);
  for (; power > 0; --power) value *= 2.0F;
  for (; power < 0; ++power) value *= 0.5F;
  return ((code >> (exponent_bits + mantissa_bits)) & 1U) != 0 ? -value : value;
}

constexpr float kNaN = std::bit_cast<float>(0x7FC00000U);

using Table = std::array<float, 256>;

template <typename Value>
constexpr Table make_table(Value value) {
  Table table{};
  for (unsigned code = 0; code < 256; ++code) table[code] = value(code);
  return table;
}

// OCP FP8 and the FNUZ variants (one more in the bias, no negative zero, 0x80 is the only NaN).
constexpr Table kE4M3 = make_table(
    [](unsigned code) { return (code & 0x7FU) == 0x7FU ? kNaN : small_float(code, 4, 3, 7); });
constexpr Table kE5M2 = make_table(  // the upper byte of an IEEE half
    [](unsigned code) { return half::to_float(static_cast<std::uint16_t>(code << 8)); });
constexpr Table kE4M3Fnuz =
    make_table([](unsigned code) { return code == 0x80U ? kNaN : small_float(code, 4, 3, 8); });
constexpr Table kE5M2Fnuz =
    make_table([](unsigned code) { return code == 0x80U ? kNaN : small_float(code, 5, 2, 16); });
/// E8M0: a power of two, 2^(code - 127); 255 is NaN.
constexpr Table kE8M0 = make_table([](unsigned code) {
  return code == 255U ? kNaN : std::bit_cast<float>(code == 0 ? 0x00400000U : code << 23);
});
constexpr Table kE2M1 = make_table([](unsigned code) { return small_float(code, 2, 1, 1); });
constexpr Table kE2M3 = make_table([](unsigned code) { return small_float(code, 2, 3, 1); });
constexpr Table kE3M2 = make_table([](unsigned code) { return small_float(code, 3, 2, 3); });

using PlainDecoder = void (*)(const std::uint8_t* in, std::span<float> out);

template <const Table& kTable>
void from_table(const std::uint8_t* in, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = kTable[in[i]];
}

/// Values of `kBits` < 8 bits, packed without gaps from the low end of each byte.
template <const Table& kTable, unsigned kBits>
void from_packed(const std::uint8_t* in, std::span<float> out) {
  unsigned pool = 0;
  unsigned have = 0;
  for (float& value : out) {
    if (have < kBits) {
      pool |= static_cast<unsigned>(*in++) << have;
      have += 8;
    }
    value = kTable[pool & ((1U << kBits) - 1U)];
    pool >>= kBits;
    have -= kBits;
  }
}

template <typename T>
void from_number(const std::uint8_t* in, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(load_le<T>(in + i * sizeof(T)));
  }
}

template <float (*kConvert)(std::uint16_t) noexcept>
void from_16_bits(const std::uint8_t* in, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = kConvert(load_le<std::uint16_t>(in + 2 * i));
}

void copy_f32(const std::uint8_t* in, std::span<float> out) {
  std::memcpy(out.data(), in, out.size_bytes());
}

/// Null for types that are not plain numbers.
PlainDecoder plain_decoder(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF64:
      return from_number<double>;
    case DType::kF32:
      return copy_f32;
    case DType::kF16:
      return from_16_bits<half::to_float>;
    case DType::kBF16:
      return from_16_bits<half::bf16_to_float>;
    case DType::kU8:
      return from_number<std::uint8_t>;
    case DType::kI8:
      return from_number<std::int8_t>;
    case DType::kU16:
      return from_number<std::uint16_t>;
    case DType::kI16:
      return from_number<std::int16_t>;
    case DType::kU32:
      return from_number<std::uint32_t>;
    case DType::kI32:
      return from_number<std::int32_t>;
    case DType::kU64:
      return from_number<std::uint64_t>;
    case DType::kI64:
      return from_number<std::int64_t>;
    case DType::kF8E4M3:
      return from_table<kE4M3>;
    case DType::kF8E4M3Fnuz:
      return from_table<kE4M3Fnuz>;
    case DType::kF8E5M2:
      return from_table<kE5M2>;
    case DType::kF8E5M2Fnuz:
      return from_table<kE5M2Fnuz>;
    case DType::kF8E8M0:
      return from_table<kE8M0>;
    case DType::kF4:
      return from_packed<kE2M1, 4>;
    case DType::kF6E2M3:
      return from_packed<kE2M3, 6>;
    case DType::kF6E3M2:
      return from_packed<kE3M2, 6>;
    default:
      return nullptr;
  }
}

void check_sizes(DType dtype, std::size_t bytes, std::size_t elements) {
  const auto expected = dtype_bytes(dtype, elements);
  if (expected && *expected == bytes) return;
  fail(ErrorKind::kInternal, "decode",
       fmt::format("expected {} bytes for {} values of {}, found {}",
                   expected ? fmt::to_string(*expected) : "whole blocks", elements,
                   dtype_info(dtype).name, bytes));
}

}  // namespace

float f16_to_f32(std::uint16_t bits) noexcept { return half::to_float(bits); }
std::uint16_t f32_to_f16(float value) noexcept { return half::from_float(value); }
float bf16_to_f32(std::uint16_t bits) noexcept { return half::bf16_to_float(bits); }
std::uint16_t f32_to_bf16(float value) noexcept { return half::bf16_from_float(value); }

void decode_f32(DType dtype, Bytes in, std::span<float> out) {
  check_sizes(dtype, in.size(), out.size());
  if (out.empty()) return;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(in.data());
  BlockDecoder decoder = simd::decoder(dtype);
  if (decoder == nullptr) decoder = small_block_decoder(dtype);
  if (decoder == nullptr) decoder = super_block_decoder(dtype);
  if (decoder != nullptr) return decoder(bytes, out.size() / dtype_info(dtype).block, out.data());
  if (const PlainDecoder plain = plain_decoder(dtype)) return plain(bytes, out);
  fail(ErrorKind::kMismatch, "decode",
       fmt::format("expected a numeric type, found {}", dtype_info(dtype).name));
}

}  // namespace lancet
