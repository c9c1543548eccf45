#include "merge/ops/correlate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/dispatch.h"

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kFewestLanes = 8;
typedef float Eight __attribute__((vector_size(32)));
typedef float Sixteen __attribute__((vector_size(64)));

/// Micro-tiles of kAtoms x kResiduals inner products in lanes, whose accumulators stay in
/// registers; residuals in blocks that stay in a core's cache while all atoms pass.
template <typename Lanes, Size kAtoms, Size kResiduals>
struct Correlate {
  static constexpr Size kLanes = sizeof(Lanes) / sizeof(float);
  static constexpr Size kBlock = 48;

  /// One tile; rows that do not exist repeat the last one.
  LANCET_BODY static void tile(const float* const* a, const float* const* r, Size width,
                               float* out) {
    Lanes sums[kResiduals][kAtoms] = {};
    Size i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      Lanes x[kAtoms], y;
#pragma GCC unroll 8
      for (Size k = 0; k < kAtoms; ++k) std::memcpy(&x[k], a[k] + i, sizeof(Lanes));
#pragma GCC unroll 8
      for (Size m = 0; m < kResiduals; ++m) {
        std::memcpy(&y, r[m] + i, sizeof(Lanes));
#pragma GCC unroll 8
        for (Size k = 0; k < kAtoms; ++k) sums[m][k] += x[k] * y;
      }
    }
#pragma GCC unroll 8
    for (Size m = 0; m < kResiduals; ++m) {
#pragma GCC unroll 8
      for (Size k = 0; k < kAtoms; ++k) {
        float lanes[kLanes];  // an index into a register would keep all of them in memory
        std::memcpy(lanes, &sums[m][k], sizeof lanes);
        float total = 0;
        for (Size l = 0; l < kLanes; ++l) total += lanes[l];
        for (Size j = i; j < width; ++j) total += a[k][j] * r[m][j];
        out[m * kAtoms + k] = total;
      }
    }
  }

  LANCET_BODY static void block(const float* atoms, Size n, const float* residuals, Size from,
                                Size to, Size width, float* out) {
    for (Size j = 0; j < n; j += kAtoms) {
      const float* a[kAtoms];
      for (Size k = 0; k < kAtoms; ++k) a[k] = atoms + (j + k < n ? j + k : n - 1) * width;
      for (Size m = from; m < to; m += kResiduals) {
        const float* r[kResiduals];
        for (Size k = 0; k < kResiduals; ++k)
          r[k] = residuals + (m + k < to ? m + k : to - 1) * width;
        float found[kResiduals * kAtoms];
        tile(a, r, width, found);
        for (Size x = 0; x < kResiduals && m + x < to; ++x) {
          for (Size y = 0; y < kAtoms && j + y < n; ++y)
            out[(m + x) * n + j + y] = found[x * kAtoms + y];
        }
      }
    }
  }

  LANCET_BODY static void run(const float* atoms, Size n, const float* residuals, Size b,
                              Size width, float* out) {
    for (Size from = 0; from < b; from += kBlock)
      block(atoms, n, residuals, from, from + kBlock < b ? from + kBlock : b, width, out);
  }
};

/// scores[i] = |start[i] - sum_s weights[s] columns[s][i]|: tiles that stay in registers or L1.
struct SubtractColumns {
  static constexpr Size kTile = 64, kMaxima = 16;

  LANCET_BODY static float run(float* __restrict scores, const float* __restrict start,
                               const std::int16_t* const* columns, const float* weights, Size count,
                               const float* __restrict norms, float error, Size n) {
    float best[kMaxima] = {};
    Size at = 0;
    for (; at + kTile <= n; at += kTile)
      tile(scores + at, start + at, columns, weights, count, norms + at, error, at, kTile, best);
    tile(scores + at, start + at, columns, weights, count, norms + at, error, at, n - at, best);
    return *std::max_element(best, best + kMaxima);
  }

  LANCET_BODY static void tile(float* __restrict scores, const float* __restrict start,
                               const std::int16_t* const* columns, const float* weights, Size count,
                               const float* __restrict norms, float error, Size at, Size m,
                               float* best) {
    float sums[kTile];
    for (Size i = 0; i < m; ++i) sums[i] = start[i];
    for (Size s = 0; s < count; ++s) {
      const std::int16_t* column = columns[s] + at;
      const float weight = weights[s];
      for (Size i = 0; i < m; ++i) sums[i] -= weight * static_cast<float>(column[i]);
    }
    for (Size i = 0; i < m; ++i) {
      sums[i] = sums[i] < 0 ? -sums[i] : sums[i];
      scores[i] = sums[i];
      sums[i] = (sums[i] - error) * norms[i];
    }
    Size i = 0;
    for (; i + kMaxima <= m; i += kMaxima) {
      for (Size l = 0; l < kMaxima; ++l) best[l] = sums[i + l] > best[l] ? sums[i + l] : best[l];
    }
    for (; i < m; ++i) best[0] = sums[i] > best[0] ? sums[i] : best[0];
  }
};

struct AnyScore {
  LANCET_BODY static bool run(const float* scores, const float* norms, float error, float least,
                              Size n) {
    std::uint32_t found = 0;
    for (Size i = 0; i < n; ++i) found |= (scores[i] + error) * norms[i] >= least ? 1U : 0U;
    return found != 0;
  }
};

}  // namespace

void correlate(std::span<const float> atoms, std::span<const float> residuals, std::size_t width,
               std::span<float> out) {
  if (atoms.empty() || residuals.empty()) return;
  const Size n = atoms.size() / width, b = residuals.size() / width;
#if defined(__x86_64__)
  if (isa() == Isa::kAvx512) {
    run_avx512<Correlate<Sixteen, 4, 6>>(atoms.data(), n, residuals.data(), b, width, out.data());
    return;
  }
#endif
  dispatch<Correlate<Eight, 3, 4>>(atoms.data(), n, residuals.data(), b, width, out.data());
}

double correlation_error(std::size_t width) noexcept {
  // A lane adds width / lanes products, then the lanes and the rest behind them: as many roundings
  // of 2^-24 each, of terms whose magnitudes sum to no more than |a| |r|; doubled.
  constexpr double kRounding = 1.0 / (1 << 24), kMostLanes = 16;
  return 2 * kRounding * (static_cast<double>(width) / kFewestLanes + 3 * kMostLanes);
}

float subtract_columns(std::span<float> scores, std::span<const float> start,
                       std::span<const std::int16_t* const> columns, std::span<const float> weights,
                       std::span<const float> norms, float error) {
  return dispatch<SubtractColumns>(scores.data(), start.data(), columns.data(), weights.data(),
                                   columns.size(), norms.data(), error, scores.size());
}

std::size_t find_scores(std::span<const float> scores, std::span<const float> norms, float error,
                        float least, std::span<std::uint32_t> out) {
  constexpr Size kRun = 64;
  Size count = 0;
  for (Size at = 0; at < scores.size(); at += kRun) {
    const Size m = std::min(kRun, scores.size() - at);
    if (!dispatch<AnyScore>(scores.data() + at, norms.data() + at, error, least, m)) continue;
    for (Size i = at; i < at + m; ++i) {
      if ((scores[i] + error) * norms[i] >= least) out[count++] = static_cast<std::uint32_t>(i);
    }
  }
  return count;
}

}  // namespace lancet::ops
