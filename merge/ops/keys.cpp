#include "merge/ops/keys.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "core/dispatch.h"
#include "merge/ops/keys_x86.h"

// Bodies are always_inline so that each instruction set compiles its own copy.
namespace lancet::ops {
namespace {

using Size = std::size_t;

LANCET_BODY std::uint32_t key_of(double x) {
  return std::bit_cast<std::uint32_t>(static_cast<float>(x)) & 0x7FFFFFFFU;
}

struct MagnitudeKeys {
  LANCET_BODY static void run(std::uint32_t* __restrict keys, const double* __restrict x, Size n) {
    for (Size i = 0; i < n; ++i) keys[i] = key_of(x[i]);
  }
};
struct DifferenceKeys {
  LANCET_BODY static void run(std::uint32_t* __restrict keys, const double* __restrict a,
                              const double* __restrict b, Size n) {
    for (Size i = 0; i < n; ++i) keys[i] = key_of(a[i] - b[i]);
  }
};
struct CountAbove {
  /// Signed, which AVX2 can compare.
  LANCET_BODY static std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    const auto least = static_cast<std::int32_t>(key);
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += static_cast<std::int32_t>(keys[i]) > least ? 1U : 0U;
    return count;
  }
};
struct CountEqual {
  LANCET_BODY static std::uint64_t run(const std::uint32_t* keys, std::uint32_t key, Size n) {
    std::uint32_t count = 0;
    for (Size i = 0; i < n; ++i) count += keys[i] == key ? 1U : 0U;
    return count;
  }
};
struct LargestKey {
  LANCET_BODY static std::uint32_t run(const std::uint32_t* keys, Size n) {
    std::uint32_t largest = 0;
    for (Size i = 0; i < n; ++i) largest = keys[i] > largest ? keys[i] : largest;
    return largest;
  }
};
/// x = 0 unless low < |x| <= high.
struct KeepMagnitudes {
  LANCET_BODY static void run(double* x, double low, double high, Size n) {
    for (Size i = 0; i < n; ++i) {
      const double magnitude = std::fabs(x[i]);
      x[i] = magnitude > low && magnitude <= high ? x[i] : 0.0;
    }
  }
};

/// The largest float64 whose key is not above `key`.
double largest_of_key(std::uint32_t key) {
  constexpr std::uint32_t kInfinite = 0x7F800000U;
  if (key >= kInfinite) return HUGE_VAL;
  const double here = std::bit_cast<float>(key);
  const double next = key + 1 == kInfinite ? 0x1p128 : std::bit_cast<float>(key + 1);
  const double middle = here + (next - here) / 2;  // exact; it is rounded to the even one
  return key % 2 == 0 ? middle : std::nextafter(middle, 0.0);
}
struct KeepRandom {
  LANCET_BODY static void run(double* __restrict x, const std::uint32_t* __restrict words,
                              std::uint32_t limit, Size n) {
    for (Size i = 0; i < n; ++i) x[i] = (words[i] >> 8) < limit ? x[i] : 0.0;
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

/// From place `at` on.
Size find_plain(std::span<const std::uint32_t> words, std::span<const std::uint32_t> keys,
                std::uint32_t low, std::uint32_t high, Size at, std::uint32_t* out) {
  Size count = 0;
  for (Size i = at; i < words.size(); ++i) {
    const std::uint32_t word = words[i] >> 8;
    out[count] = static_cast<std::uint32_t>(i);
    count += word >= low && word < high && keys[i] != 0 ? 1U : 0U;
  }
  return count;
}

/// bits of the elements [8 at, n) by is_set(i).
template <typename IsSet>
void mark_plain(std::span<std::uint8_t> bits, Size at, Size n, const IsSet& is_set) {
  for (Size b = at; 8 * b < n; ++b) {
    unsigned byte = 0;
    for (Size i = 8 * b; i < std::min(n, 8 * b + 8); ++i)
      byte |= (is_set(i) ? 1U : 0U) << (i - 8 * b);
    bits[b] = static_cast<std::uint8_t>(byte);
  }
}

}  // namespace

void magnitude_keys(std::span<std::uint32_t> keys, In x) {
  dispatch<MagnitudeKeys>(keys.data(), x.data(), x.size());
}
void difference_keys(std::span<std::uint32_t> keys, In a, In b) {
  dispatch<DifferenceKeys>(keys.data(), a.data(), b.data(), a.size());
}
std::uint64_t count_above(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountAbove>(keys.data(), key, keys.size());
}
std::uint64_t count_equal(std::span<const std::uint32_t> keys, std::uint32_t key) {
  return dispatch<CountEqual>(keys.data(), key, keys.size());
}
std::uint32_t largest_key(std::span<const std::uint32_t> keys) {
  return dispatch<LargestKey>(keys.data(), keys.size());
}
void count_keys(std::span<std::uint64_t> counts, std::span<const std::uint32_t> keys,
                std::uint32_t origin, std::uint32_t shift) {
  for (const std::uint32_t key : keys) {
    const std::uint32_t bin = (key - origin) >> shift;  // far away where key < origin
    if (bin < counts.size()) ++counts[bin];
  }
}
std::uint32_t bin_of_rank(std::span<const std::uint64_t> counts, std::uint64_t& rank) {
  for (Size bin = counts.size(); bin-- > 0;) {
    if (rank < counts[bin]) return static_cast<std::uint32_t>(bin);
    rank -= counts[bin];
  }
  return 0;
}

Collected collect_window(std::span<const std::uint32_t> keys, const Window& window,
                         std::uint32_t* out) {
  Collected found;
  Size done = 0;
#if defined(__x86_64__)
  if (isa() != Isa::kPlain) {
    done = keys.size() / 16 * 16;
    found = (isa() == Isa::kAvx512 ? collect_avx512 : collect_avx2)(keys.first(done), window, out);
  }
#endif
  const Collected rest = collect_plain(keys.subspan(done), window, out + found.inside);
  return {found.inside + rest.inside, found.above + rest.above, found.pivots + rest.pivots};
}
Size find_words(std::span<const std::uint32_t> words, std::span<const std::uint32_t> keys,
                std::uint32_t low, std::uint32_t high, std::uint32_t* out) {
  Size count = 0, done = 0;
#if defined(__x86_64__)
  if (isa() != Isa::kPlain) {
    done = words.size() / 16 * 16;
    count = (isa() == Isa::kAvx512 ? find_avx512 : find_avx2)(words.first(done), keys.data(), low,
                                                              high, out);
  }
#endif
  return count + find_plain(words, keys, low, high, done, out + count);
}

void keep_magnitudes(Out x, std::uint32_t low, std::uint32_t high) {
  dispatch<KeepMagnitudes>(x.data(), largest_of_key(low), largest_of_key(high), x.size());
}
std::uint32_t chance_limit(double chance) {
  return static_cast<std::uint32_t>(std::ceil(std::clamp(chance, 0.0, 1.0) * 0x1p24));
}
void keep_random(Out x, std::span<const std::uint32_t> words, std::uint32_t limit) {
  dispatch<KeepRandom>(x.data(), words.data(), limit, x.size());
}

void mark_nonzero(std::span<std::uint8_t> bits, In x) {
  Size done = 0;
#if defined(__x86_64__)
  if (isa() != Isa::kPlain) {
    done = x.size() / 8;
    (isa() == Isa::kAvx512 ? mark_avx512 : mark_avx2)(bits.data(), x.data(), done);
  }
#endif
  mark_plain(bits, done, x.size(), [&](Size i) { return x[i] != 0; });
}
void mark_between(std::span<std::uint8_t> bits, std::span<const std::uint32_t> keys,
                  std::uint32_t low, std::uint32_t high) {
  Size done = 0;
#if defined(__x86_64__)
  if (isa() != Isa::kPlain) {
    done = keys.size() / 8;
    mark_keys_avx2(bits.data(), keys.data(), low, high, done);
  }
#endif
  mark_plain(bits, done, keys.size(), [&](Size i) { return keys[i] > low && keys[i] <= high; });
}
void keep_marked(Out x, std::span<const std::uint8_t> bits) {
  Size done = 0;
#if defined(__x86_64__)
  if (isa() != Isa::kPlain) {
    done = x.size() / 8;
    (isa() == Isa::kAvx512 ? keep_avx512 : keep_avx2)(x.data(), bits.data(), done);
  }
#endif
  for (Size i = 8 * done; i < x.size(); ++i) x[i] = (bits[i / 8] >> i % 8 & 1U) != 0 ? x[i] : 0.0;
}

}  // namespace lancet::ops
