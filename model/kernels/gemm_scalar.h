// Vectors of four floats in plain C++, for gemm_body.h: included by gemm_scalar.cpp and
// pairs_scalar.cpp, each of which defines fma_one in front of it.

constexpr std::int64_t kLanes = 4;
constexpr int kRows = 4;
constexpr int kFewRowsGroup = 4;
template <typename T>
constexpr int kStep = 4;

struct V {
  float lane[kLanes];
};

inline V zero() { return {}; }
inline V load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline void store(float* p, V v) { std::memcpy(p, v.lane, sizeof v.lane); }
inline V broadcast(const float* p) { return {{*p, *p, *p, *p}}; }
inline V fma(V a, V b, V c) {
  for (int i = 0; i < kLanes; ++i) c.lane[i] = fma_one(a.lane[i], b.lane[i], c.lane[i]);
  return c;
}
inline V add(V a, V b) {
  for (int i = 0; i < kLanes; ++i) a.lane[i] += b.lane[i];
  return a;
}
template <typename T>
inline V widen(const T* p) {
  return {{widen_one(p[0]), widen_one(p[1]), widen_one(p[2]), widen_one(p[3])}};
}
inline V load_some(const float* p, std::int64_t n) {
  V v{};
  for (std::int64_t i = 0; i < n; ++i) v.lane[i] = p[i];
  return v;
}
inline void store_some(float* p, std::int64_t n, V v) {
  for (std::int64_t i = 0; i < n; ++i) p[i] = v.lane[i];
}

template <typename T>
inline void transpose(const T* w, std::int64_t ldw, V* out) {
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < kLanes; ++j) out[i].lane[j] = widen_one(w[j * ldw + i]);
  }
}

constexpr std::int64_t kPasses = 1;

template <int kMr, typename T>
inline void dot_lanes(const float* a, std::int64_t lda, const T* const* w, std::int64_t count,
                      Ahead& /*fetches nothing*/, float* lanes) {
  for (int i = 0; i < kMr * 8; ++i) {
    float* const lane = lanes + i * kChains;
    for (std::int64_t r = 0; r < kChains; ++r) lane[r] = 0.0F;
    for (std::int64_t k = 0; k + kChains <= count; k += kChains) {
      for (std::int64_t r = 0; r < kChains; ++r) {
        lane[r] = fma_one(a[i / 8 * lda + k + r], widen_one(w[i % 8][k + r]), lane[r]);
      }
    }
  }
}

template <int kMr, typename T>
inline void dot_chains(const float* a, std::int64_t lda, const T* w, std::int64_t count,
                       float* lanes, std::int64_t stride) {
  for (int i = 0; i < kMr; ++i) {
    float* const lane = lanes + i * stride;
    for (std::int64_t r = 0; r < kChains; ++r) lane[r] = 0.0F;
    for (std::int64_t k = 0; k < count / kChains * kChains; ++k) {
      float& chain = lane[k % kChains];
      chain = fma_one(a[i * lda + k], widen_one(w[k]), chain);
    }
  }
}

inline void sum_lanes(const float* lanes, float* out) {
  for (int j = 0; j < 8; ++j) {
    out[j] = lanes[j * kChains];
    for (int r = 1; r < kChains; ++r) out[j] += lanes[j * kChains + r];
  }
}
