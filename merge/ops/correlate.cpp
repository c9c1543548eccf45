#include "merge/ops/correlate.h"

#include <algorithm>
#include <cstring>

#include "core/dispatch.h"

namespace lancet::ops {
namespace {

using Size = std::size_t;
constexpr Size kLanes = 16;
constexpr Size kAtoms = 2, kResiduals = 4;  ///< eight accumulators: they stay in registers
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));

struct Correlate {
  [[gnu::always_inline]] static inline float sum(const Lanes& lanes) {
    float total = 0;
    for (Size l = 0; l < kLanes; ++l) total += lanes[l];
    return total;
  }

  /// One tile; rows that do not exist repeat the last one.
  [[gnu::always_inline]] static inline void tile(const float* const* a, const float* const* r,
                                                 Size width, float* out) {
    Lanes sums[kResiduals][kAtoms] = {};
    Size i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      Lanes x[kAtoms];
      for (Size k = 0; k < kAtoms; ++k) std::memcpy(&x[k], a[k] + i, sizeof(Lanes));
      for (Size m = 0; m < kResiduals; ++m) {
        Lanes y;
        std::memcpy(&y, r[m] + i, sizeof(Lanes));
        for (Size k = 0; k < kAtoms; ++k) sums[m][k] += x[k] * y;
      }
    }
    for (Size m = 0; m < kResiduals; ++m) {
      for (Size k = 0; k < kAtoms; ++k) {
        float total = sum(sums[m][k]);
        for (Size j = i; j < width; ++j) total += a[k][j] * r[m][j];
        out[m * kAtoms + k] = total;
      }
    }
  }

  [[gnu::always_inline]] static inline void run(const float* atoms, Size n, const float* residuals,
                                                Size b, Size width, float* out) {
    for (Size j = 0; j < n; j += kAtoms) {
      const float* a[kAtoms];
      for (Size k = 0; k < kAtoms; ++k) a[k] = atoms + (j + k < n ? j + k : n - 1) * width;
      for (Size m = 0; m < b; m += kResiduals) {
        const float* r[kResiduals];
        for (Size k = 0; k < kResiduals; ++k)
          r[k] = residuals + (m + k < b ? m + k : b - 1) * width;
        float found[kResiduals * kAtoms];
        tile(a, r, width, found);
        for (Size x = 0; x < kResiduals && m + x < b; ++x) {
          for (Size y = 0; y < kAtoms && j + y < n; ++y)
            out[(m + x) * n + j + y] = found[x * kAtoms + y];
        }
      }
    }
  }
};

}  // namespace

void correlate(std::span<const float> atoms, std::span<const float> residuals, std::size_t width,
               std::span<float> out) {
  if (atoms.empty() || residuals.empty()) return;
  dispatch<Correlate>(atoms.data(), atoms.size() / width, residuals.data(),
                      residuals.size() / width, width, out.data());
}

double correlation_error(std::size_t width) noexcept {
  // A lane adds width / 16 products, then 16 lanes and the rest behind them: as many roundings of
  // 2^-24 each, of terms whose magnitudes sum to no more than |a| |r|; doubled.
  constexpr double kRounding = 1.0 / (1 << 24);
  return 2 * kRounding * (static_cast<double>(width) / kLanes + 3 * kLanes);
}

}  // namespace lancet::ops
