#include "merge/ops/convert.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/dispatch.h"
#include "formats/quant/decode.h"
#include "merge/ops/vector.h"

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kStage =
    1024;  ///< float32 values between two conversions; a multiple of every block size

template <typename T>
LANCET_BODY T load(const std::byte* in, Size i) {
  T value;
  std::memcpy(&value, in + i * sizeof(T), sizeof(T));
  return value;
}
template <typename T>
LANCET_BODY void store(std::byte* out, Size i, T value) {
  std::memcpy(out + i * sizeof(T), &value, sizeof(T));
}

constexpr std::uint32_t kBits16 = 0x7F80U;
constexpr std::uint32_t kBits32 = 0x7F800000U;
constexpr std::uint64_t kBits64 = 0x7FF0000000000000ULL;

// Each returns 0 where all values are finite.
/// out = in, or in - base.
template <bool kLess>
struct LoadBf16 {
  static constexpr Size kLine = 32;   ///< values of a cache line
  static constexpr Size kAhead = 64;  ///< lines: models are read side by side, each a little ahead
  LANCET_BODY static std::uint32_t run(const std::byte* __restrict in,
                                       const double* __restrict base, double* __restrict out,
                                       Size n) {
    std::uint16_t worst[kLine] = {};  // the largest exponent in each place of a line
    Size at = 0;
    for (; at + kLine <= n; at += kLine) {
      __builtin_prefetch(in + 2 * at + 2 * kLine * kAhead);
      line(in + 2 * at, base + (kLess ? at : 0), out + at, worst, kLine);
    }
    line(in + 2 * at, base + (kLess ? at : 0), out + at, worst, n - at);
    std::uint32_t bad = 0;
    for (const std::uint16_t exponent : worst) bad += exponent == kBits16 ? 1U : 0U;
    return bad;
  }
  LANCET_BODY static void line(const std::byte* __restrict in, const double* __restrict base,
                               double* __restrict out, std::uint16_t* __restrict worst, Size n) {
    for (Size i = 0; i < n; ++i) {
      const auto bits = load<std::uint16_t>(in, i);
      const auto exponent = static_cast<std::uint16_t>(bits & kBits16);
      worst[i] = worst[i] > exponent ? worst[i] : exponent;
      const auto value = static_cast<double>(std::bit_cast<float>(std::uint32_t{bits} << 16));
      out[i] = kLess ? value - base[i] : value;
    }
  }
};
/// keys = bits of |in|, or of |in - base|.
template <bool kLess>
struct Bf16Keys {
  LANCET_BODY static void run(std::uint32_t* __restrict keys, const std::byte* __restrict in,
                              const std::byte* __restrict base, Size n) {
    using Line = LoadBf16<kLess>;
    Size at = 0;
    for (; at + Line::kLine <= n; at += Line::kLine) {
      __builtin_prefetch(in + 2 * at + 2 * Line::kLine * Line::kAhead);
      line(keys + at, in + 2 * at, base + (kLess ? 2 * at : 0), Line::kLine);
    }
    line(keys + at, in + 2 * at, base + (kLess ? 2 * at : 0), n - at);
  }
  LANCET_BODY static float value(const std::byte* in, Size i) {
    return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(in, i)} << 16);
  }
  LANCET_BODY static void line(std::uint32_t* __restrict keys, const std::byte* __restrict in,
                               const std::byte* __restrict base, Size n) {
    for (Size i = 0; i < n; ++i) {
      const float x = kLess ? value(in, i) - value(base, i) : value(in, i);
      keys[i] = std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFU;
    }
  }
};
struct LoadF32 {
  LANCET_BODY static std::uint32_t run(const std::byte* __restrict in, double* __restrict out,
                                       Size n) {
    std::uint32_t bad = 0;
    for (Size i = 0; i < n; ++i) {
      const auto bits = load<std::uint32_t>(in, i);
      bad += (bits & kBits32) == kBits32 ? 1U : 0U;
      out[i] = static_cast<double>(std::bit_cast<float>(bits));
    }
    return bad;
  }
};
struct LoadF64 {
  LANCET_BODY static std::uint32_t run(const std::byte* __restrict in, double* __restrict out,
                                       Size n) {
    std::uint32_t bad = 0;
    for (Size i = 0; i < n; ++i) {
      const auto bits = load<std::uint64_t>(in, i);
      bad += (bits & kBits64) == kBits64 ? 1U : 0U;
      out[i] = std::bit_cast<double>(bits);
    }
    return bad;
  }
};

/// float64 to a float32 whose last bit remembers what was cut off: rounding it to 16 bits is then
/// the correct rounding of `value`.
LANCET_BODY float sticky_float(double value) {
  constexpr std::uint64_t kCut = (1ULL << 29) - 1;  // bits of float64 below float32's
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const std::uint64_t sticky = (bits & kCut) != 0 ? kCut + 1 : 0;
  return static_cast<float>(std::bit_cast<double>((bits & ~kCut) | sticky));
}

struct StoreF32 {
  LANCET_BODY static std::uint32_t run(std::byte* __restrict out, const double* __restrict in,
                                       Size n) {
    std::uint32_t bad = 0;
    for (Size i = 0; i < n; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(in[i]));
      bad += (bits & kBits32) == kBits32 ? 1U : 0U;
      store(out, i, bits);
    }
    return bad;
  }
};
struct StoreF64 {
  LANCET_BODY static std::uint32_t run(std::byte* __restrict out, const double* __restrict in,
                                       Size n) {
    std::uint32_t bad = 0;
    for (Size i = 0; i < n; ++i) {
      const auto bits = std::bit_cast<std::uint64_t>(in[i]);
      bad += (bits & kBits64) == kBits64 ? 1U : 0U;
      store(out, i, bits);
    }
    return bad;
  }
};
struct StoreBf16 {
  static constexpr std::uint32_t kInfinite = 0x7F7F8000U;  ///< magnitudes from here on round to it
  LANCET_BODY static std::uint32_t run(std::byte* __restrict out, const double* __restrict in,
                                       Size n) {
    std::uint32_t largest = 0;
    for (Size i = 0; i < n; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(sticky_float(in[i]));
      const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
      largest = largest > magnitude ? largest : magnitude;
      store(out, i, static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16));
    }
    return largest >= kInfinite ? 1 : 0;
  }
};
struct Sticky {
  LANCET_BODY static void run(float* __restrict out, const double* __restrict in, Size n) {
    for (Size i = 0; i < n; ++i) out[i] = sticky_float(in[i]);
  }
};
struct CountF16NotFinite {
  LANCET_BODY static std::uint32_t run(const std::byte* in, Size n) {
    std::uint32_t bad = 0;
    for (Size i = 0; i < n; ++i) bad += (load<std::uint16_t>(in, i) & 0x7C00U) == 0x7C00U ? 1U : 0U;
    return bad;
  }
};

bool store_f16(std::span<const double> in, std::span<std::byte> out) {
  std::array<float, kStage> stage{};
  for (Size at = 0; at < in.size(); at += kStage) {
    const Size n = std::min(kStage, in.size() - at);
    dispatch<Sticky>(stage.data(), in.data() + at, n);
    encode_f32(DType::kF16, std::span(stage).first(n), out.subspan(2 * at, 2 * n));
  }
  return dispatch<CountF16NotFinite>(static_cast<const std::byte*>(out.data()), in.size()) == 0;
}

bool load_staged(DType dtype, Bytes in, std::span<double> out) {
  std::array<float, kStage> stage{};
  bool finite = true;
  for (Size at = 0; at < out.size(); at += kStage) {
    const Size n = std::min(kStage, out.size() - at);
    const std::uint64_t begin = dtype_bytes(dtype, at).value();
    decode_f32(dtype, in.subspan(begin, dtype_bytes(dtype, n).value()), std::span(stage).first(n));
    finite = widen(std::span(stage).first(n), out.subspan(at, n)) && finite;
  }
  return finite;
}

}  // namespace

bool widen(std::span<const float> in, std::span<double> out) {
  return dispatch<LoadF32>(std::as_bytes(in).data(), out.data(), out.size()) == 0;
}

bool load_values(DType dtype, Bytes in, std::span<double> out) {
  switch (dtype) {
    case DType::kBF16:
      return dispatch<LoadBf16<false>>(in.data(), static_cast<const double*>(nullptr), out.data(),
                                       out.size()) == 0;
    case DType::kF32:
      return dispatch<LoadF32>(in.data(), out.data(), out.size()) == 0;
    case DType::kF64:
      return dispatch<LoadF64>(in.data(), out.data(), out.size()) == 0;
    default:
      return load_staged(dtype, in, out);
  }
}

void bfloat16_keys(std::span<std::uint32_t> keys, Bytes in, Bytes base) {
  if (base.empty()) {
    dispatch<Bf16Keys<false>>(keys.data(), in.data(), in.data(), keys.size());
  } else {
    dispatch<Bf16Keys<true>>(keys.data(), in.data(), base.data(), keys.size());
  }
}

bool load_differences(DType dtype, Bytes in, std::span<const double> base, std::span<double> out) {
  if (dtype == DType::kBF16)
    return dispatch<LoadBf16<true>>(in.data(), base.data(), out.data(), out.size()) == 0;
  const bool finite = load_values(dtype, in, out);
  subtract(out, base);
  return finite;
}

bool store_values(DType dtype, std::span<const double> in, std::span<std::byte> out) {
  switch (dtype) {
    case DType::kBF16:
      return dispatch<StoreBf16>(out.data(), in.data(), in.size()) == 0;
    case DType::kF32:
      return dispatch<StoreF32>(out.data(), in.data(), in.size()) == 0;
    case DType::kF64:
      return dispatch<StoreF64>(out.data(), in.data(), in.size()) == 0;
    default:
      return store_f16(in, out);
  }
}

}  // namespace lancet::ops
