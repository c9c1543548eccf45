// Products of bfloat16 pairs against their definition and against double precision.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "model/kernels/pairs.h"
#include "tests/catch.h"

namespace {

using namespace lancet::kernels;
using std::int64_t;

std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

float widened(std::uint16_t x) { return std::bit_cast<float>(std::uint32_t{x} << 16U); }

std::vector<PairIsa> available() {
  std::vector<PairIsa> all;
  for (const PairIsa isa : {PairIsa::kScalar, PairIsa::kAvx2, PairIsa::kAvx512Bf16,
                            PairIsa::kTilesTwin, PairIsa::kAmx}) {
    if (has_pair_isa(isa)) all.push_back(isa);
  }
  return all;
}

struct Shape {
  int64_t m, n, k;
  int64_t pad = 2;  // leading dimensions exceed the rows by this
  bool accumulate = false;
  bool grad = false;

  [[nodiscard]] int64_t sum_length() const { return grad ? n : k; }
  [[nodiscard]] int64_t columns() const { return grad ? k : n; }
  [[nodiscard]] std::string text() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) +
           (grad ? " input gradient" : "") + (accumulate ? " accumulate" : "");
  }
};

/// Zeros of both signs take part; nothing is subnormal.
std::vector<std::uint16_t> random_values(int64_t count, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> wide(index(count));
  for (float& x : wide) x = rng() % 64 == 0 ? (rng() % 2 == 0 ? 0.0F : -0.0F) : normal(rng);
  std::vector<std::uint16_t> out(index(count));
  round_bf16(wide.data(), out.data(), count);
  return out;
}

/// One product with its operands; values around the result must stay.
class Problem {
 public:
  explicit Problem(const Shape& shape, unsigned seed = 5) : shape_(shape) {
    std::mt19937 rng(seed);
    a_ = random_values(shape.m * lda(), rng);
    w_ = random_values(shape.n * ldw(), rng);
    for (const std::uint16_t x : random_values(shape.m * ldc(), rng)) c_.push_back(widened(x));
  }

  [[nodiscard]] int64_t lda() const { return shape_.sum_length() + shape_.pad; }
  [[nodiscard]] int64_t ldw() const { return shape_.k + shape_.pad; }
  [[nodiscard]] int64_t ldc() const { return shape_.columns() + shape_.pad; }

  [[nodiscard]] std::vector<float> run(PairIsa isa) const {
    std::vector<float> c = c_;
    const auto all = [isa](const auto& job) {
      for (int64_t i = 0, tiles = tile_count(job, isa); i < tiles; ++i) run_tile(job, i, isa);
    };
    const auto [m, n, k, pad, accumulate, grad] = shape_;
    if (grad) {
      all(PairInputGrad{a_.data(), lda(), w_.data(), ldw(), c.data(), ldc(), m, n, k, accumulate,
                        4});
    } else {
      all(PairLinear{a_.data(), lda(), w_.data(), ldw(), c.data(), ldc(), m, n, k, accumulate, 4});
    }
    return c;
  }

  [[nodiscard]] float left(int64_t i, int64_t s) const { return widened(a_[index(i * lda() + s)]); }
  [[nodiscard]] float right(int64_t j, int64_t s) const {
    return widened(w_[index(shape_.grad ? s * ldw() + j : j * ldw() + s)]);
  }
  [[nodiscard]] float old(int64_t i, int64_t j) const { return c_[index(i * ldc() + j)]; }

  /// The definitions in pairs.h, word for word.
  [[nodiscard]] float defined(PairIsa isa, int64_t i, int64_t j) const {
    const bool tiles = isa == PairIsa::kTilesTwin || isa == PairIsa::kAmx;
    return tiles ? in_tiles(i, j) : in_pairs(i, j);
  }

 private:
  [[nodiscard]] float in_tiles(int64_t i, int64_t j) const {
    float c = shape_.accumulate ? old(i, j) : 0.0F;
    for (int64_t begin = 0; begin < shape_.sum_length(); begin += 32) {
      float chain[2] = {0, 0};
      for (int64_t s = begin; s < std::min(shape_.sum_length(), begin + 32); ++s)
        chain[s % 2] = std::fma(left(i, s), right(j, s), chain[s % 2]);
      c += chain[0] + chain[1];
    }
    return c;
  }

  [[nodiscard]] float in_pairs(int64_t i, int64_t j) const {
    const int64_t length = shape_.sum_length() / 2;
    const int64_t longest = shape_.grad ? 256 : 640;
    const int64_t chains = shape_.grad ? 1 : 8;
    const int64_t blocks = (length + longest - 1) / longest;
    const int64_t block = blocks == 0 ? 1 : ((length + blocks - 1) / blocks + 7) / 8 * 8;
    float c = shape_.accumulate ? old(i, j) : 0.0F;
    for (int64_t begin = 0; begin < length; begin += block) {
      float total = 0;
      for (int64_t r = 0; r < chains; ++r) {
        float chain = 0;
        for (int64_t s = begin + r; s < std::min(length, begin + block); s += chains) {
          chain = std::fma(left(i, 2 * s + 1), right(j, 2 * s + 1), chain);
          chain = std::fma(left(i, 2 * s), right(j, 2 * s), chain);
        }
        total = r == 0 ? chain : total + chain;
      }
      c = begin > 0 || shape_.accumulate ? c + total : total;
    }
    return c;
  }

  Shape shape_;
  std::vector<std::uint16_t> a_, w_;
  std::vector<float> c_;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  const int64_t columns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 64, 71, 100, 129};
  const int64_t sums[] = {2, 4, 6, 14, 16, 18, 24, 32, 46, 128, 200, 510, 514, 1280, 1282, 2566};
  std::size_t turn = 0;
  for (int64_t m = 1; m <= 70; ++m) {
    for (const bool grad : {false, true}) {
      ++turn;
      const int64_t column = columns[turn * 5 % std::size(columns)];
      const int64_t sum = sums[turn * 7 % std::size(sums)];
      all.push_back({m, grad ? sum : column, grad ? column : sum,
                     static_cast<int64_t>(turn % 3 * 2), turn % 3 == 0, grad});
    }
  }
  return all;
}

}  // namespace

TEST_CASE("products of pairs have the bits of the documented order on every instruction set",
          "[kernels][slow]") {
  for (const Shape& shape : shapes()) {
    const Problem problem(shape);
    for (const PairIsa isa : available()) {
      INFO(shape.text() << ", set " << static_cast<int>(isa));
      const std::vector<float> c = problem.run(isa);
      int64_t different = 0;
      for (int64_t i = 0; i < shape.m; ++i) {
        for (int64_t j = 0; j < problem.ldc(); ++j) {  // past the columns: nothing may be written
          const float want = j < shape.columns() ? problem.defined(isa, i, j) : problem.old(i, j);
          different += std::bit_cast<std::uint32_t>(want) !=
                       std::bit_cast<std::uint32_t>(c[index(i * problem.ldc() + j)]);
        }
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("products of pairs are within length * 2^-24 * sum |a w| of double precision",
          "[kernels]") {
  for (const bool grad : {false, true}) {
    const Shape shape{37, 200, 128, 2, true, grad};
    const Problem problem(shape, 11);
    const std::vector<float> c = problem.run(best_pair_isa());
    double worst = 0;  // error in units of the bound
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.columns(); ++j) {
        double value = problem.old(i, j), magnitude = std::abs(value);
        for (int64_t s = 0; s < shape.sum_length(); ++s) {
          const double product =
              static_cast<double>(problem.left(i, s)) * static_cast<double>(problem.right(j, s));
          value += product;
          magnitude += std::abs(product);
        }
        const double bound =
            static_cast<double>(shape.sum_length() + 1) * std::ldexp(magnitude, -24);
        const auto got = static_cast<double>(c[index(i * problem.ldc() + j)]);
        worst = std::max(worst, std::abs(got - value) / bound);
      }
    }
    INFO(shape.text());
    CHECK(worst <= 1.0);
    CHECK(worst > 0.0);
  }
}

TEST_CASE("products of pairs refuse odd sums, odd distances and halves of words", "[kernels]") {
  std::vector<std::uint16_t> values(64);
  PairLinear job{.a = values.data(), .lda = 4, .w = values.data(), .ldw = 4, .ldc = 3};
  job.m = 2, job.n = 3, job.k = 4;
  CHECK(tile_count(job) > 0);
  job.k = 3;
  CHECK_THROWS_AS(tile_count(job), lancet::Error);
  job.k = 4, job.lda = 5;
  CHECK_THROWS_AS(tile_count(job), lancet::Error);
  job.lda = 4, job.w = values.data() + 1;
  CHECK_THROWS_AS(tile_count(job), lancet::Error);
  PairInputGrad grad{.g = values.data(), .ldg = 4, .w = values.data(), .ldw = 3, .ldc = 3};
  grad.m = 2, grad.n = 4, grad.k = 3;
  CHECK(tile_count(grad) > 0);
  grad.n = 3;
  CHECK_THROWS_AS(tile_count(grad), lancet::Error);
}

TEST_CASE("float32 is rounded to the nearest bfloat16, ties to even", "[kernels]") {
  const auto one = [](float x) {
    std::uint16_t y = 0;
    round_bf16(&x, &y, 1);
    return y;
  };
  CHECK(one(1.0F) == 0x3f80);
  CHECK(one(std::bit_cast<float>(0x3f808000U)) == 0x3f80);  // halfway, down to even
  CHECK(one(std::bit_cast<float>(0x3f818000U)) == 0x3f82);  // halfway, up to even
  CHECK(one(std::bit_cast<float>(0x3f808001U)) == 0x3f81);
  CHECK(one(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(one(-std::numeric_limits<float>::infinity()) == 0xff80);
  CHECK(std::isnan(widened(one(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isnan(widened(one(std::bit_cast<float>(0x7f800001U)))));
  // Against the nearest of both neighbours, everywhere.
  std::mt19937 rng(3);
  std::vector<float> x(100'000);
  for (float& v : x) v = std::bit_cast<float>(static_cast<std::uint32_t>(rng()) & 0xff7fffffU);
  std::vector<std::uint16_t> y(x.size());
  round_bf16(x.data(), y.data(), static_cast<int64_t>(x.size()));
  int64_t wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i]);
    const auto down = static_cast<std::uint16_t>(bits >> 16U);
    const auto up = static_cast<std::uint16_t>(down + 1);
    const double below = std::abs(static_cast<double>(x[i]) - widened(down));
    const double next = std::isinf(widened(up)) ? std::ldexp(1.0, 128) : std::abs(widened(up));
    const double above = next - std::abs(static_cast<double>(x[i]));
    const std::uint16_t want = below < above || (below == above && down % 2 == 0) ? down : up;
    wrong += y[i] != want;
  }
  CHECK(wrong == 0);
}
