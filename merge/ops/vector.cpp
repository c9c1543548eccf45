#include "merge/ops/vector.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "core/dispatch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Bodies are always_inline so that each instruction set compiles its own copy.
#define LANCET_BODY [[gnu::always_inline]] static inline

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kLanes = 16;

struct Fill {
  LANCET_BODY void run(double* out, double value, Size n) {
    for (Size i = 0; i < n; ++i) out[i] = value;
  }
};
struct Add {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] += x[i];
  }
};
struct Subtract {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] -= x[i];
  }
};
struct Scale {
  LANCET_BODY void run(double* out, double factor, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= factor;
  }
};
struct AddScaled {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, double weight, Size n) {
    for (Size i = 0; i < n; ++i) out[i] += weight * x[i];
  }
};
struct Multiply {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] *= x[i];
  }
};
struct DivideNonzero {
  LANCET_BODY void run(double* __restrict out, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) out[i] /= x[i] == 0 ? 1.0 : x[i];
  }
};

LANCET_BODY double add_lanes(const double* lanes) {
  double half[kLanes / 2];
  for (Size l = 0; l < kLanes / 2; ++l) half[l] = lanes[l] + lanes[l + kLanes / 2];
  return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

struct Dot {
  LANCET_BODY double run(const double* a, const double* b, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += a[i] * b[i];
    return add_lanes(lanes);
  }
};
struct Sum {
  LANCET_BODY double run(const double* x, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += x[i];
    return add_lanes(lanes);
  }
};
struct AbsSum {
  LANCET_BODY double run(const double* x, Size n) {
    double lanes[kLanes] = {};
    Size i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (Size l = 0; l < kLanes; ++l) lanes[l] += std::fabs(x[i + l]);
    }
    for (Size l = 0; i < n; ++i, ++l) lanes[l] += std::fabs(x[i]);
    return add_lanes(lanes);
  }
};

struct Variance {
  LANCET_BODY void run(double* __restrict out, const Out* vectors, Size count, Size n) {
    constexpr Size kTile = 32;
    const double share = 1 / static_cast<double>(count);
    for (Size at = 0; at < n; at += kTile) {
      const Size m = n - at < kTile ? n - at : kTile;
      double mean[kTile], sum[kTile];
      for (Size i = 0; i < kTile; ++i) mean[i] = sum[i] = 0;
      for (Size v = 0; v < count; ++v) {
        const double* x = vectors[v].data() + at;
        for (Size i = 0; i < m; ++i) mean[i] += share * x[i];
      }
      for (Size v = 0; v < count; ++v) {
        const double* x = vectors[v].data() + at;
        for (Size i = 0; i < m; ++i) sum[i] += (x[i] - mean[i]) * (x[i] - mean[i]);
      }
      for (Size i = 0; i < m; ++i) out[at + i] = sum[i] * share;
    }
  }
};
struct Elect {
  static constexpr Size kTile = 32;  ///< elements whose sums stay in registers or L1
  LANCET_BODY void run(double* __restrict out, const double* __restrict base, const Vote* votes,
                       Size count, const Election* election, Size n) {
    Size at = 0;
    for (; at + kTile <= n; at += kTile) tile(out, base, votes, count, *election, at, kTile);
    if (at < n) tile(out, base, votes, count, *election, at, n - at);
  }
  LANCET_BODY void tile(double* __restrict out, const double* __restrict base, const Vote* votes,
                        Size count, const Election& e, Size at, Size m) {
    double total[kTile], mixed[kTile], divisor[kTile];
    for (Size i = 0; i < m; ++i) total[i] = mixed[i] = divisor[i] = 0;
    for (Size v = 0; v < count; ++v) {
      const double* delta = votes[v].delta + at;
      const double factor = votes[v].factor, weight = e.by_values ? 1.0 : votes[v].weight;
      for (Size i = 0; i < m; ++i) total[i] += weight * (factor * delta[i]);
    }
    for (Size v = 0; v < count; ++v) {
      const double* delta = votes[v].delta + at;
      const double factor = votes[v].factor, weight = votes[v].weight;
      const double elects = e.by_values ? 1.0 : weight;
      for (Size i = 0; i < m; ++i) {
        const double value = factor * delta[i];
        const bool agrees = elects * value * (total[i] >= 0 ? 1.0 : -1.0) > 0;
        mixed[i] += agrees ? weight * value : 0.0;
        divisor[i] += agrees ? weight : 0.0;
      }
    }
    if (e.divide) {
      for (Size i = 0; i < m; ++i) {
        const double safe = divisor[i] < e.smallest ? e.smallest : divisor[i];
        divisor[i] = safe + (safe == 0 ? 1.0 : 0.0);
      }
      for (Size i = 0; i < m; ++i) mixed[i] /= divisor[i];
    }
    for (Size i = 0; i < m; ++i) out[at + i] = mixed[i] * e.lambda + base[at + i];
  }
};

struct MagnitudeKeys {
  LANCET_BODY void run(std::uint32_t* __restrict keys, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) {
      keys[i] = std::bit_cast<std::uint32_t>(static_cast<float>(x[i])) & 0x7FFFFFFFU;
    }
  }
};
struct KeepBetween {
  LANCET_BODY std::uint64_t run(double* __restrict x, const std::uint32_t* __restrict keys,
                                std::uint32_t low, std::uint32_t high, Size n) {
    std::uint32_t equal = 0;
    for (Size i = 0; i < n; ++i) {
      x[i] = keys[i] > low && keys[i] <= high ? x[i] : 0.0;
      equal += keys[i] == low ? 1U : 0U;
    }
    return equal;
  }
};
struct CountAbove {
  LANCET_BODY std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += keys[i] > key ? 1U : 0U;
    return count;
  }
};
struct CountEqual {
  LANCET_BODY std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += keys[i] == key ? 1U : 0U;
    return count;
  }
};
struct KeepMagnitudes {
  LANCET_BODY void run(double* x, std::uint32_t low, std::uint32_t high, Size n) {
    for (Size i = 0; i < n; ++i) {
      const std::uint32_t key =
          std::bit_cast<std::uint32_t>(static_cast<float>(x[i])) & 0x7FFFFFFFU;
      x[i] = key > low && key <= high ? x[i] : 0.0;
    }
  }
};
struct KeepRandom {
  LANCET_BODY void run(double* __restrict x, const std::uint32_t* __restrict words,
                       std::uint32_t limit, Size n) {
    for (Size i = 0; i < n; ++i) x[i] = (words[i] >> 8) < limit ? x[i] : 0.0;
  }
};

struct LargestKey {
  LANCET_BODY std::uint32_t run(const std::uint32_t* keys, Size n) {
    std::uint32_t largest = 0;
    for (Size i = 0; i < n; ++i) largest = keys[i] > largest ? keys[i] : largest;
    return largest;
  }
};
struct MarkNonzero {
  LANCET_BODY void run(std::uint8_t* __restrict bits, const double* __restrict x, Size n) {
    for (Size at = 0; at < n; at += 8) {
      const Size m = n - at < 8 ? n - at : 8;
      unsigned byte = 0;
      for (Size i = 0; i < m; ++i) byte |= (x[at + i] != 0 ? 1U : 0U) << i;
      bits[at / 8] = static_cast<std::uint8_t>(byte);
    }
  }
};
struct KeepMarked {
  LANCET_BODY void run(double* __restrict x, const std::uint8_t* __restrict bits, Size n) {
    for (Size at = 0; at < n; at += 8) {
      const Size m = n - at < 8 ? n - at : 8;
      for (Size i = 0; i < m; ++i) x[at + i] = (bits[at / 8] >> i & 1U) != 0 ? x[at + i] : 0.0;
    }
  }
};

Collected collect_plain(std::span<const std::uint32_t> keys, const Window& window,
                        std::uint32_t* out) {
  Collected found;
  for (const std::uint32_t key : keys) {
    const bool pivot = key == window.pivot;
    out[found.inside] = key;  // overwritten by the next one where it does not stay
    found.inside += !pivot && key - window.low <= window.high - window.low ? 1U : 0U;
    found.above += key > window.high ? 1U : 0U;
    found.pivots += pivot ? 1U : 0U;
  }
  return found;
}

#if defined(__x86_64__)
[[gnu::target("avx512f")]] inline __m512i all_of(std::uint32_t v) {
  return _mm512_set1_epi32(static_cast<int>(v));
}

[[gnu::target("avx512f,popcnt")]] Collected collect_avx512(std::span<const std::uint32_t> keys,
                                                           const Window& window,
                                                           std::uint32_t* out) {
  const __m512i low = all_of(window.low), high = all_of(window.high), pivot = all_of(window.pivot);
  const auto count = [](unsigned mask) { return static_cast<Size>(__builtin_popcount(mask)); };
  Collected found;
  const Size whole = keys.size() / 16 * 16;
  for (Size i = 0; i < whole; i += 16) {
    const __m512i key = _mm512_loadu_si512(keys.data() + i);
    const unsigned above = _mm512_cmpgt_epu32_mask(key, high);
    const unsigned pivots = _mm512_cmpeq_epi32_mask(key, pivot);
    const unsigned inside = _mm512_cmpge_epu32_mask(key, low) & ~above & ~pivots;
    _mm512_storeu_si512(out + found.inside,
                        _mm512_maskz_compress_epi32(static_cast<__mmask16>(inside), key));
    found.inside += count(inside);
    found.above += count(above);
    found.pivots += count(pivots);
  }
  const Collected rest = collect_plain(keys.subspan(whole), window, out + found.inside);
  return {found.inside + rest.inside, found.above + rest.above, found.pivots + rest.pivots};
}

[[gnu::target("avx512f")]] void mark_avx512(std::uint8_t* bits, const double* x, Size bytes) {
  for (Size b = 0; b < bytes; ++b)
    bits[b] = _mm512_cmp_pd_mask(_mm512_loadu_pd(x + 8 * b), _mm512_setzero_pd(), _CMP_NEQ_OQ);
}
[[gnu::target("avx512f")]] void keep_avx512(double* x, const std::uint8_t* bits, Size bytes) {
  for (Size b = 0; b < bytes; ++b)
    _mm512_storeu_pd(x + 8 * b, _mm512_maskz_loadu_pd(bits[b], x + 8 * b));
}
#endif

}  // namespace

void fill(Out out, double value) { dispatch<Fill>(out.data(), value, out.size()); }
void copy(Out out, In x) { std::copy(x.begin(), x.end(), out.begin()); }
void add(Out out, In x) { dispatch<Add>(out.data(), x.data(), out.size()); }
void subtract(Out out, In x) { dispatch<Subtract>(out.data(), x.data(), out.size()); }
void scale(Out out, double factor) { dispatch<Scale>(out.data(), factor, out.size()); }
void add_scaled(Out out, In x, double weight) {
  dispatch<AddScaled>(out.data(), x.data(), weight, out.size());
}
void multiply(Out out, In x) { dispatch<Multiply>(out.data(), x.data(), out.size()); }
void divide_nonzero(Out out, In x) { dispatch<DivideNonzero>(out.data(), x.data(), out.size()); }

double dot(In a, In b) { return dispatch<Dot>(a.data(), b.data(), a.size()); }
double sum(In x) { return dispatch<Sum>(x.data(), x.size()); }
double abs_sum(In x) { return dispatch<AbsSum>(x.data(), x.size()); }

void variance(Out out, std::span<const Out> vectors) {
  dispatch<Variance>(out.data(), vectors.data(), vectors.size(), out.size());
}
void elect(Out out, In base, std::span<const Vote> votes, const Election& election) {
  dispatch<Elect>(out.data(), base.data(), votes.data(), votes.size(), &election, out.size());
}

void magnitude_keys(std::span<std::uint32_t> keys, In x) {
  dispatch<MagnitudeKeys>(keys.data(), x.data(), x.size());
}
std::uint64_t keep_between(Out x, std::span<const std::uint32_t> keys, std::uint32_t low,
                           std::uint32_t high) {
  return dispatch<KeepBetween>(x.data(), keys.data(), low, high, x.size());
}
std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountAbove>(keys.data(), key, keys.size());
}
std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountEqual>(keys.data(), key, keys.size());
}
void keep_magnitudes(Out x, std::uint32_t low, std::uint32_t high) {
  dispatch<KeepMagnitudes>(x.data(), low, high, x.size());
}
Collected collect_window(std::span<const std::uint32_t> keys, const Window& window,
                         std::uint32_t* out) {
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) return collect_avx512(keys, window, out);
#endif
  return collect_plain(keys, window, out);
}
std::uint32_t largest_key(std::span<const std::uint32_t> keys) {
  return dispatch<LargestKey>(keys.data(), keys.size());
}
void mark_nonzero(std::span<std::uint8_t> bits, In x) {
  Size done = 0;
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) mark_avx512(bits.data(), x.data(), done = x.size() / 8);
#endif
  dispatch<MarkNonzero>(bits.data() + done, x.data() + 8 * done, x.size() - 8 * done);
}
void keep_marked(Out x, std::span<const std::uint8_t> bits) {
  Size done = 0;
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) keep_avx512(x.data(), bits.data(), done = x.size() / 8);
#endif
  dispatch<KeepMarked>(x.data() + 8 * done, bits.data() + done, x.size() - 8 * done);
}
std::uint32_t chance_limit(double chance) {
  return static_cast<std::uint32_t>(std::ceil(std::clamp(chance, 0.0, 1.0) * 0x1p24));
}
void keep_random(Out x, std::span<const std::uint32_t> words, std::uint32_t limit) {
  dispatch<KeepRandom>(x.data(), words.data(), limit, x.size());
}

}  // namespace lancet::ops
