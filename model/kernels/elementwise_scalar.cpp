// Any processor: the same bits as the vector kernels, without vector instructions.

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "model/kernels/elementwise_kernels.h"
#include "model/kernels/exact_fma.h"

#define LANCET_KERNEL
#define LANCET_INLINE inline

namespace lancet::kernels {
namespace {

struct V {
  float lane[16];
};

inline V load_some(const float* p, std::int64_t n) {
  V v{};
  std::memcpy(v.lane, p, static_cast<std::size_t>(n) * sizeof(float));
  return v;
}
inline void store_some(float* p, std::int64_t n, const V& v) {
  std::memcpy(p, v.lane, static_cast<std::size_t>(n) * sizeof(float));
}
inline V load(const float* p) { return load_some(p, 16); }
inline void store(float* p, const V& v) { store_some(p, 16, v); }
inline V fill_up(V v, std::int64_t n, float x) {
  for (std::int64_t i = n; i < 16; ++i) v.lane[i] = x;
  return v;
}
inline V set1(float x) { return fill_up({}, 0, x); }
inline V add(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] += b.lane[i];
  return a;
}
inline V sub(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] -= b.lane[i];
  return a;
}
inline V mul(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] *= b.lane[i];
  return a;
}
inline V div(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] /= b.lane[i];
  return a;
}
inline V fma(V a, const V& b, const V& c) {
  for (int i = 0; i < 16; ++i) a.lane[i] = exact_fma(a.lane[i], b.lane[i], c.lane[i]);
  return a;
}
inline V larger(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}
inline V smaller(V a, const V& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}
inline float tree_sum(V v) {
  for (int distance = 8; distance > 0; distance /= 2) {
    for (int i = 0; i < distance; ++i) v.lane[i] += v.lane[i + distance];
  }
  return v.lane[0];
}
inline float tree_max(V v) {
  for (int distance = 8; distance > 0; distance /= 2) {
    for (int i = 0; i < distance; ++i) {
      v.lane[i] = v.lane[i] > v.lane[i + distance] ? v.lane[i] : v.lane[i + distance];
    }
  }
  return v.lane[0];
}

/// In two steps, so that neither power leaves the exponents of normal values; the first is exact.
inline float scale_power_1(float p, float t) {
  if (std::isnan(p)) return p;
  const int n = static_cast<int>(std::bit_cast<std::uint32_t>(t)) - 0x4b400000;
  const int half = n >> 1;
  const auto power = [](int e) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(e + 127) << 23U);
  };
  return p * power(half) * power(n - half);
}
inline V scale_power(V p, const V& t) {
  for (int i = 0; i < 16; ++i) p.lane[i] = scale_power_1(p.lane[i], t.lane[i]);
  return p;
}

#include "model/kernels/elementwise_body.h"

}  // namespace

const ElementwiseTable elementwise_scalar{
    &exp_row_of,   &rms_norm_of,    &rms_norm_backward_of, &silu_mul_of,    &silu_mul_backward_of,
    &rope_half_of, &softmax_row_of, &softmax_backward_of,  &log_sum_exp_of, &decode_attention_of};

}  // namespace lancet::kernels
