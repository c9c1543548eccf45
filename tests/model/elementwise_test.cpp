// The row-wise kernels of model/kernels: the same bits on every instruction set, and right by
// double precision.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "model/kernels/elementwise.h"
#include "tests/catch.h"

namespace {

using namespace lancet::kernels;
using std::int64_t;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUlp = 0x1p-23;  // of a float of 1

std::size_t element(int64_t i) { return static_cast<std::size_t>(i); }

std::vector<float> random_values(int64_t count, unsigned seed, float scale = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(element(count));
  for (float& x : out) x = normal(rng);
  return out;
}

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

/// run(isa) gives the same bits for all that this processor has; returns them.
template <typename Run>
std::vector<float> on_every_isa(const Run& run) {
  const std::vector<float> out = run(Isa::kScalar);
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    INFO(isa_name(isa));
    if (has_isa(isa)) CHECK(same_bits(out, run(isa)));
  }
  return out;
}

const std::vector<int64_t> kLengths{1,  2,  7,  8,   9,   15,   16,   17,   31,  33,
                                    63, 64, 65, 100, 576, 1023, 1024, 1025, 3000};

/// |got - want| in units of the last place of want, which may be subnormal.
double ulps(float got, double want) {
  if (static_cast<double>(got) == want) return 0;
  const int exponent = std::max(std::ilogb(want), -126);
  return std::abs(static_cast<double>(got) - want) / std::ldexp(1.0, exponent - 23);
}

}  // namespace

TEST_CASE("exp_row is within 1.1 units in the last place of std::exp over its whole range",
          "[kernels]") {
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits <= 0x42b20000U;
       bits += 997) {  // 0 to 89, and the same below zero
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  for (float v = -104; v < -86; v += 0.0037F) x.push_back(v);  // subnormal results
  const std::vector<float> y = on_every_isa([&](Isa isa) {
    std::vector<float> out(x.size());
    exp_row(x.data(), out.data(), static_cast<int64_t>(x.size()), isa);
    return out;
  });
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = std::exp(static_cast<double>(x[i]));
    if (want < static_cast<double>(std::numeric_limits<float>::max()))
      worst = std::max(worst, ulps(y[i], want));
  }
  CAPTURE(worst);
  CHECK(worst <= 1.1);
}

TEST_CASE("exp_row keeps infinities, zeros and NaN", "[kernels]") {
  const std::vector<float> x{0.0F, -0.0F, kInfinity, -kInfinity, 100.0F, -200.0F, 88.7228F, NAN};
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (!has_isa(isa)) continue;
    INFO(isa_name(isa));
    std::vector<float> y(x.size());
    exp_row(x.data(), y.data(), static_cast<int64_t>(x.size()), isa);
    CHECK(y[0] == 1.0F);
    CHECK(y[1] == 1.0F);
    CHECK(y[2] == kInfinity);
    CHECK(y[3] == 0.0F);
    CHECK(y[4] == kInfinity);
    CHECK(y[5] == 0.0F);
    CHECK(std::isfinite(y[6]));
    CHECK(std::isnan(y[7]));
  }
}

TEST_CASE("rms_norm of a row is x / sqrt(mean x^2 + eps) * weight to 4 units in the last place",
          "[kernels]") {
  for (const int64_t d : kLengths) {
    const int64_t rows = 3;
    const std::vector<float> x = random_values(rows * (d + 2), 1, 3);
    const std::vector<float> weight = random_values(d, 2);
    const std::vector<float> y = on_every_isa([&](Isa isa) {
      std::vector<float> out(element(rows * (d + 1)), 7.0F);
      rms_norm({x.data(), d + 2, weight.data(), 1.0F, 1e-5F, out.data(), d + 1, rows, d}, isa);
      return out;
    });
    double worst = 0;
    for (int64_t row = 0; row < rows; ++row) {
      double squares = 0;
      for (int64_t i = 0; i < d; ++i)
        squares += std::pow(static_cast<double>(x[element(row * (d + 2) + i)]), 2);
      const double scale =
          1 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(1e-5F));
      for (int64_t i = 0; i < d; ++i) {
        const auto w = static_cast<double>(weight[element(i)] + 1.0F);
        const double want = static_cast<double>(x[element(row * (d + 2) + i)]) * scale * w;
        worst = std::max(worst, ulps(y[element(row * (d + 1) + i)], want));
      }
      CHECK(y[element(row * (d + 1) + d)] == 7.0F);
    }
    CAPTURE(d, worst);
    CHECK(worst <= 4.0);
  }
}

TEST_CASE("rms_norm_backward, silu_mul_backward and softmax_backward are their formulas in double",
          "[kernels]") {
  for (const int64_t n : kLengths) {
    CAPTURE(n);
    const std::vector<float> x = random_values(n, 5, 3), w = random_values(n, 6);
    const std::vector<float> dy = random_values(n, 7);
    const auto at = [](const std::vector<float>& values, int64_t i) {
      return static_cast<double>(values[element(i)]);
    };
    const auto far = [](double got, double want) {
      return std::abs(got - want) / (1 + std::abs(want));
    };
    const std::vector<float> norm = on_every_isa([&](Isa isa) {
      std::vector<float> out(x.size());
      rms_norm_backward({x.data(), w.data(), 1e-5F, dy.data(), w.data(), out.data(), 1, n}, isa);
      return out;
    });
    double squares = 0, slope = 0;
    for (int64_t i = 0; i < n; ++i) squares += at(x, i) * at(x, i);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (int64_t i = 0; i < n; ++i)
      slope += at(dy, i) * at(w, i) * at(x, i) * rstd / static_cast<double>(n);
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double want = rstd * (at(dy, i) * at(w, i) - at(x, i) * rstd * slope) + at(w, i);
      worst = std::max(worst, far(at(norm, i), want));
    }
    const std::vector<float> both = on_every_isa([&](Isa isa) {
      std::vector<float> out(2 * x.size());
      silu_mul_backward({x.data(), w.data(), dy.data(), out.data(), out.data() + n, n}, isa);
      return out;
    });
    for (int64_t i = 0; i < n; ++i) {
      const double s = 1 / (1 + std::exp(-at(x, i)));
      const double gate = at(dy, i) * at(w, i) * s * (1 + at(x, i) * (1 - s));
      worst =
          std::max({worst, far(at(both, i), gate), far(at(both, n + i), at(dy, i) * at(x, i) * s)});
    }
    std::vector<float> p(x.size());
    softmax_row(x.data(), p.data(), n);
    const std::vector<float> ds = on_every_isa([&](Isa isa) {
      std::vector<float> out = dy;
      softmax_backward(p.data(), out.data(), n, isa);
      return out;
    });
    double mean = 0;
    for (int64_t i = 0; i < n; ++i) mean += at(p, i) * at(dy, i);
    for (int64_t i = 0; i < n; ++i)
      worst = std::max(worst, far(at(ds, i), at(p, i) * (at(dy, i) - mean)));
    CHECK(worst < 16 * kUlp);
  }
}

TEST_CASE("silu_mul is gate / (1 + exp(-gate)) * up to 4 units in the last place", "[kernels]") {
  for (const int64_t n : kLengths) {
    const std::vector<float> gate = random_values(n, 3, 20);
    const std::vector<float> up = random_values(n, 4);
    const std::vector<float> y = on_every_isa([&](Isa isa) {
      std::vector<float> out = gate;
      silu_mul(out.data(), up.data(), out.data(), n, isa);
      return out;
    });
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      const auto g = static_cast<double>(gate[element(i)]);
      worst = std::max(
          worst, ulps(y[element(i)], g / (1 + std::exp(-g)) * static_cast<double>(up[element(i)])));
    }
    CAPTURE(n, worst);
    CHECK(worst <= 4.0);
  }
}

TEST_CASE("silu_mul of a very negative gate is zero, not NaN", "[kernels]") {
  const float gate[] = {-1e30F, -200.0F, -100.0F};
  const float up[] = {1.0F, 2.0F, 3.0F};
  float y[3];
  silu_mul(gate, up, y, 3);
  for (const float v : y) CHECK(std::abs(v) < 1e-37F);
}

TEST_CASE("rope_half rotates pairs of the two halves with products rounded one by one",
          "[kernels]") {
  for (const int64_t rotary : {2, 8, 14, 32, 64, 96, 128}) {
    const int64_t heads = 3;
    const int64_t stride = rotary + 5;
    const std::vector<float> x = random_values(heads * stride, 5);
    std::vector<float> cos, sin;
    for (int64_t i = 0; i < rotary / 2; ++i) {
      cos.push_back(std::cos(0.1F * static_cast<float>(i + 1)));
      sin.push_back(std::sin(0.1F * static_cast<float>(i + 1)));
    }
    const std::vector<float> y = on_every_isa([&](Isa isa) {
      std::vector<float> out = x;
      rope_half(out.data(), stride, heads, cos.data(), sin.data(), rotary, isa);
      return out;
    });
    std::vector<float> want = x;
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < rotary / 2; ++i) {
        const std::size_t low = element(head * stride + i);
        const std::size_t high = low + element(rotary / 2);
        want[low] = x[low] * cos[element(i)] - x[high] * sin[element(i)];
        want[high] = x[high] * cos[element(i)] + x[low] * sin[element(i)];
      }
    }
    INFO(rotary);
    CHECK(same_bits(y, want));
  }
}

TEST_CASE("softmax_row and log_sum_exp agree with double precision and keep masked entries at zero",
          "[kernels]") {
  for (const int64_t n : kLengths) {
    std::vector<float> x = random_values(n, 6, 4);
    if (n > 3) x[2] = -kInfinity;
    const std::vector<float> y = on_every_isa([&](Isa isa) {
      std::vector<float> out(x.size() + 1);
      softmax_row(x.data(), out.data(), n, isa);
      out.back() = static_cast<float>(log_sum_exp(x.data(), n, isa));
      return out;
    });
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v));
    const double most = static_cast<double>(*std::max_element(x.begin(), x.end()));
    double worst = 0;  // in units of 4 ulps and the rounding of x - max
    for (int64_t i = 0; i < n; ++i) {
      const double want = std::exp(static_cast<double>(x[element(i)])) / sum;
      const double bound =
          (4 + std::min(100.0, most - static_cast<double>(x[element(i)])) / 2) * kUlp * want +
          1e-44;
      worst = std::max(worst, std::abs(static_cast<double>(y[element(i)]) - want) / bound);
    }
    CAPTURE(n, worst);
    CHECK(worst <= 1.0);
    CHECK(std::abs(static_cast<double>(y.back()) - std::log(sum)) <=
          2 * kUlp * std::max(1.0, std::log(sum)));
    if (n > 3) CHECK(y[2] == 0.0F);
  }
}

TEST_CASE("decode_attention is softmax(scale q k^T) v for every query head of a group",
          "[kernels]") {
  for (const int64_t tokens : {1, 2, 63, 64, 65, 200}) {
    for (const int64_t d : {8, 33, 64, 80, 128, 200}) {
      const int64_t queries = 3;
      const int64_t stride = d + 3;
      const float scale = 1 / std::sqrt(static_cast<float>(d));
      const std::vector<float> q = random_values(queries * d, 7);
      const std::vector<float> k = random_values(tokens * stride, 8);
      const std::vector<float> v = random_values(tokens * stride, 9);
      const std::vector<float> out = on_every_isa([&](Isa isa) {
        std::vector<float> result(element(queries * d));
        std::vector<float> scores(element(queries * tokens));
        decode_attention({q.data(), d, k.data(), stride, v.data(), stride, result.data(), d,
                          scores.data(), queries, tokens, d, scale},
                         isa);
        return result;
      });
      double worst = 0;
      for (int64_t query = 0; query < queries; ++query) {
        std::vector<double> weights(element(tokens));
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t) {
          double dot = 0;
          for (int64_t i = 0; i < d; ++i) {
            dot += static_cast<double>(q[element(query * d + i)]) *
                   static_cast<double>(k[element(t * stride + i)]);
          }
          sum += weights[element(t)] = std::exp(dot * static_cast<double>(scale));
        }
        for (int64_t i = 0; i < d; ++i) {
          double want = 0;
          for (int64_t t = 0; t < tokens; ++t)
            want += weights[element(t)] / sum * static_cast<double>(v[element(t * stride + i)]);
          worst =
              std::max(worst, std::abs(static_cast<double>(out[element(query * d + i)]) - want));
        }
      }
      CAPTURE(tokens, d, worst);
      CHECK(worst <= 1e-5);
    }
  }
}
