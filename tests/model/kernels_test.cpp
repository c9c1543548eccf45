// The matrix products of model/kernels against their definition and against double precision.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "formats/quant/decode.h"
#include "model/kernels/exact_fma.h"
#include "model/kernels/gemm.h"
#include "tests/catch.h"

namespace {

using namespace lancet::kernels;
using std::int64_t;

/// Of the order of tiles the twin and, where there is one, AMX.
std::vector<Isa> available(bool tiles) {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (has_isa(isa) && (!tiles || isa == Isa::kScalar || (has_tiles() && isa == best_isa())))
      all.push_back(isa);
  }
  return all;
}
/// The fastest one.
Isa best(bool tiles) { return available(tiles).back(); }

std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

/// Normal values, some of them zeros and some tiny, so that signs of zeros and subnormals (of
/// float16, too) take part; `tiny`: so small that products are subnormal, too.
std::vector<float> random_values(int64_t count, std::mt19937& rng, bool tiny) {
  std::normal_distribution<float> normal;
  std::vector<float> out(index(count));
  for (float& x : out) {
    const auto kind = rng() % 64;
    x = normal(rng) * (kind == 0 ? 0.0F : kind == 1 && tiny ? 1e-30F : kind == 2 ? 1e-6F : 1.0F);
  }
  return out;
}

struct Shape {
  int64_t m, n, k;
  int64_t pad = 3;  // leading dimensions exceed the rows by this
  WeightType type = WeightType::kF32;
  bool accumulate = false;
  bool grad = false;
  bool tiles = false;

  [[nodiscard]] int64_t sum_length() const { return grad ? n : k; }
  [[nodiscard]] int64_t columns() const { return grad ? k : n; }
  [[nodiscard]] std::string text() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) +
           (type == WeightType::kBF16  ? " bf16"
            : type == WeightType::kF16 ? " f16"
                                       : " f32") +
           (tiles ? " in tiles" : "") + (grad ? " input gradient" : "") +
           (accumulate ? " accumulate" : "");
  }
};

/// One product with its operands; `c` has guard values around the result.
class Problem {
 public:
  explicit Problem(const Shape& shape, unsigned seed = 7) : shape_(shape) {
    std::mt19937 rng(seed);
    a_ = random_values(shape.m * lda(), rng, !shape.tiles);
    w_ = random_values(shape.n * ldw(), rng, !shape.tiles);
    c_ = random_values(shape.m * ldc(), rng, !shape.tiles);
    for (float& x : w_) {
      const bool half = shape.type == WeightType::kF16;
      narrow_.push_back(half ? lancet::f32_to_f16(x) : lancet::f32_to_bf16(x));
      if (shape.type == WeightType::kF32) continue;
      x = half ? lancet::f16_to_f32(narrow_.back()) : lancet::bf16_to_f32(narrow_.back());
    }
  }

  [[nodiscard]] int64_t lda() const { return shape_.sum_length() + shape_.pad; }
  [[nodiscard]] int64_t ldw() const { return shape_.k + shape_.pad; }
  [[nodiscard]] int64_t ldc() const { return shape_.columns() + shape_.pad; }
  [[nodiscard]] const void* weights() const {
    return shape_.type == WeightType::kF32 ? static_cast<const void*>(w_.data()) : narrow_.data();
  }
  [[nodiscard]] LinearJob linear(float* c) const {
    return {a_.data(), lda(),    weights(), shape_.type,       ldw(), c,           ldc(),
            shape_.m,  shape_.n, shape_.k,  shape_.accumulate, 4,     shape_.tiles};
  }
  [[nodiscard]] InputGradJob input_grad(float* c) const {
    return {a_.data(), lda(),    weights(), shape_.type,       ldw(), c,           ldc(),
            shape_.m,  shape_.n, shape_.k,  shape_.accumulate, 4,     shape_.tiles};
  }

  /// C after all tiles in the given order of visits.
  template <typename Visit>
  [[nodiscard]] std::vector<float> run(const Visit& visit) const {
    std::vector<float> c = c_;
    if (shape_.grad) {
      const InputGradJob job = input_grad(c.data());
      visit(tile_count(job), [&](int64_t i, Isa isa) { run_tile(job, i, isa); });
    } else {
      const LinearJob job = linear(c.data());
      visit(tile_count(job), [&](int64_t i, Isa isa) { run_tile(job, i, isa); });
    }
    return c;
  }
  [[nodiscard]] std::vector<float> run(Isa isa) const {
    return run([&](int64_t tiles, const auto& tile) {
      for (int64_t i = 0; i < tiles; ++i) tile(i, isa);
    });
  }

  [[nodiscard]] float left(int64_t i, int64_t s) const { return a_[index(i * lda() + s)]; }
  [[nodiscard]] float right(int64_t j, int64_t s) const {
    return w_[index(shape_.grad ? s * ldw() + j : j * ldw() + s)];
  }
  [[nodiscard]] float old(int64_t i, int64_t j) const { return c_[index(i * ldc() + j)]; }

  /// The definitions in gemm.h, word for word: blocks, chains, sums.
  [[nodiscard]] float defined(int64_t i, int64_t j) const {
    return shape_.tiles ? in_tiles(i, j) : in_chains(i, j);
  }

  struct Exact {
    double value, magnitude;
  };
  [[nodiscard]] Exact exact(int64_t i, int64_t j) const {
    Exact sum{shape_.accumulate ? old(i, j) : 0.0, 0.0};
    sum.magnitude = std::abs(sum.value);
    for (int64_t s = 0; s < shape_.sum_length(); ++s) {
      const double product = static_cast<double>(left(i, s)) * static_cast<double>(right(j, s));
      sum.value += product;
      sum.magnitude += std::abs(product);
    }
    return sum;
  }

  [[nodiscard]] const Shape& shape() const { return shape_; }

 private:
  [[nodiscard]] float in_chains(int64_t i, int64_t j) const {
    const int64_t length = shape_.sum_length();
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
          chain = std::fma(left(i, s), right(j, s), chain);
        }
        total = r == 0 ? chain : total + chain;
      }
      c = begin > 0 || shape_.accumulate ? c + total : total;
    }
    return c;
  }

  /// Term 0 (high), 1 or 2 (low) of a number.
  [[nodiscard]] static float term_of(float x, int term) {
    for (; term > 0; --term) x -= lancet::bf16_to_f32(lancet::f32_to_bf16(x));
    return lancet::bf16_to_f32(lancet::f32_to_bf16(x));
  }

  /// The sum of the even and of the odd products of these terms of a group.
  [[nodiscard]] float group(int64_t i, int64_t j, int64_t begin, int64_t end, int left_term,
                            int right_term) const {
    float chain[2] = {0, 0};
    for (int64_t s = begin; s < end; ++s) {
      chain[s % 2] =
          std::fma(term_of(left(i, s), left_term), term_of(right(j, s), right_term), chain[s % 2]);
    }
    return chain[0] + chain[1];
  }

  [[nodiscard]] float in_tiles(int64_t i, int64_t j) const {
    const int64_t length = shape_.sum_length(), blocks = (length + 639) / 640;
    const int64_t block = blocks == 0 ? 1 : ((length + blocks - 1) / blocks + 31) / 32 * 32;
    float c = shape_.accumulate ? old(i, j) : 0.0F;
    for (int64_t begin = 0; begin < length; begin += block) {
      const int64_t end = std::min(length, begin + block);
      float rest = 0, most = 0;
      for (int64_t s = begin; s < end; s += 32) {
        const int64_t last = std::min(end, s + 32);
        for (const auto& [a, w] : {std::pair{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}})
          rest += group(i, j, s, last, a, w);
        most += group(i, j, s, last, 0, 0);
      }
      c = begin > 0 || shape_.accumulate ? c + (rest + most) : rest + most;
    }
    return c;
  }

  Shape shape_;
  std::vector<float> a_, w_, c_;
  std::vector<std::uint16_t> narrow_;  ///< as bfloat16 or float16
};

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

/// Every m of 1..70 and sums and columns around all vector, panel and block borders.
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  const int64_t columns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 64, 71, 100, 129};
  const int64_t sums[] = {1, 3, 4, 7, 8, 9, 12, 16, 23, 64, 100, 255, 257, 640, 641, 645, 1283};
  std::size_t turn = 0;
  for (int64_t m = 1; m <= 70; ++m) {
    for (const bool grad : {false, true}) {
      for (const WeightType type : {WeightType::kF32, WeightType::kBF16, WeightType::kF16}) {
        ++turn;
        const int64_t column = columns[turn * 5 % std::size(columns)];
        const int64_t sum = sums[turn * 7 % std::size(sums)];
        all.push_back({m, grad ? sum : column, grad ? column : sum, static_cast<int64_t>(turn % 4),
                       type, turn % 3 == 0, grad});
        all.push_back(all.back());
        all.back().tiles = true;
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("exact_fma has the bits of std::fma for every kind of value", "[kernels]") {
  std::mt19937 rng(1);
  std::uint64_t different = 0;
  const auto differs = [](float a, float b, float c) {
    const float got = exact_fma(a, b, c);
    const float want = std::fma(a, b, c);
    return std::bit_cast<std::uint32_t>(got) != std::bit_cast<std::uint32_t>(want) &&
           !(std::isnan(got) && std::isnan(want));
  };
  for (int i = 0; i < 2'000'000; ++i) {
    const auto any = [&] { return std::bit_cast<float>(static_cast<std::uint32_t>(rng())); };
    const float a = any();
    const float b = any();
    different += differs(a, b, any());
    different += differs(a, b, -a * b);  // cancellation
    different += differs(a, b, std::ldexp(a * b, 24 + static_cast<int>(rng() % 4)));  // near halves
    different += differs(std::ldexp(a, -60), b, std::numeric_limits<float>::denorm_min());
  }
  CHECK(different == 0);
  CHECK(exact_fma(std::numeric_limits<float>::infinity(), 1.0F, 1.0F) > 0);
  CHECK(std::isnan(exact_fma(std::numeric_limits<float>::infinity(), 0.0F, 1.0F)));
}

TEST_CASE("matrix products have the bits of the documented order on every instruction set",
          "[kernels][slow]") {
  for (const Shape& shape : shapes()) {
    const Problem problem(shape);
    for (const Isa isa : available(shape.tiles)) {
      INFO(shape.text() << ", " << isa_name(isa));
      const std::vector<float> c = problem.run(isa);
      int64_t different = 0;
      for (int64_t i = 0; i < shape.m; ++i) {
        for (int64_t j = 0; j < problem.ldc(); ++j) {  // past the columns: nothing may be written
          const float want = j < shape.columns() ? problem.defined(i, j) : problem.old(i, j);
          different += std::bit_cast<std::uint32_t>(want) !=
                       std::bit_cast<std::uint32_t>(c[index(i * problem.ldc() + j)]);
        }
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("matrix products are within length * 2^-24 * sum |a w| of double precision",
          "[kernels][slow]") {
  for (const Shape& shape : shapes()) {
    const Problem problem(shape, 11);
    const std::vector<float> c = problem.run(best(shape.tiles));
    const bool drops = shape.tiles && shape.type == WeightType::kF32;
    const auto terms = static_cast<double>(shape.sum_length() + (drops ? 3 : 1));
    double worst = 0;  // error in units of the bound
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.columns(); ++j) {
        const auto [value, magnitude] = problem.exact(i, j);
        const double bound = terms * std::ldexp(magnitude, -24) + 1e-44;
        worst = std::max(
            worst, std::abs(static_cast<double>(c[index(i * problem.ldc() + j)]) - value) / bound);
      }
    }
    INFO(shape.text());
    CHECK(worst <= 1.0);
  }
}

TEST_CASE("matrix products have the same bits for any order of tiles and on two threads",
          "[kernels]") {
  for (const Shape& shape :
       {Shape{300, 520, 130}, Shape{3, 3000, 333}, Shape{130, 100, 700, 0, WeightType::kBF16},
        Shape{130, 300, 333, 1, WeightType::kF16},
        Shape{257, 333, 611, 5, WeightType::kF32, true, true},
        Shape{130, 300, 333, 1, WeightType::kBF16, true, false, true},
        Shape{257, 333, 700, 0, WeightType::kBF16, false, true, true}}) {
    const Problem problem(shape);
    INFO(shape.text());
    const Isa isa = best(shape.tiles);
    const std::vector<float> once = problem.run(isa);
    const auto reversed = problem.run([&](int64_t tiles, const auto& tile) {
      CHECK(tiles > 1);
      for (int64_t i = tiles; i-- > 0;) tile(i, isa);
    });
    CHECK(same_bits(once, reversed));
    const auto shuffled = problem.run([&](int64_t tiles, const auto& tile) {
      std::vector<int64_t> order(index(tiles));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), std::mt19937(3));
      for (const int64_t i : order) tile(i, isa);
    });
    CHECK(same_bits(once, shuffled));
    const auto threaded = problem.run([&](int64_t tiles, const auto& tile) {
      std::thread odd([&] {
        for (int64_t i = 1; i < tiles; i += 2) tile(i, isa);
      });
      for (int64_t i = 0; i < tiles; i += 2) tile(i, isa);
      odd.join();
    });
    CHECK(same_bits(once, threaded));
  }
}

TEST_CASE("a row has the same bits alone, among a few rows and in a large batch",
          "[kernels][slow]") {
  std::vector<Shape> all;
  for (const bool grad : {false, true}) {
    for (const WeightType type : {WeightType::kF32, WeightType::kBF16, WeightType::kF16}) {
      all.push_back({200, 700, 1000, 1, type, false, grad});
      if (has_tiles()) all.push_back({200, 700, 1000, 1, type, false, grad, true});
    }
  }
  for (const Shape& shape : all) {
    const Problem problem(shape);
    const std::vector<float> batch = problem.run(best_isa());
    for (const auto& part_of : {std::pair<int64_t, int64_t>{0, 1}, {77, 1}, {50, 5}, {100, 30}}) {
      const int64_t first = part_of.first, rows = part_of.second;
      std::vector<float> part(index(rows * problem.ldc()));
      const auto run_all = [&](auto job) {
        job.m = rows;
        job.c = part.data();
        for (int64_t i = 0, tiles = tile_count(job); i < tiles; ++i) run_tile(job, i);
      };
      if (shape.grad) {
        InputGradJob job = problem.input_grad(nullptr);
        job.g += first * job.ldg;
        run_all(job);
      } else {
        LinearJob job = problem.linear(nullptr);
        job.a += first * job.lda;
        run_all(job);
      }
      int64_t different = 0;
      for (int64_t i = 0; i < rows; ++i) {
        different +=
            std::memcmp(&part[index(i * problem.ldc())], &batch[index((first + i) * problem.ldc())],
                        index(shape.columns()) * sizeof(float)) != 0;
      }
      INFO(shape.text() << ", rows from " << first << ", " << rows);
      CHECK(different == 0);
    }
  }
}

TEST_CASE("matrix products of size zero write what an empty sum is and nothing else", "[kernels]") {
  for (const bool grad : {false, true}) {
    for (const bool accumulate : {false, true}) {
      for (Shape shape : {Shape{0, 5, 4}, Shape{5, 0, 4}, Shape{5, 4, 0}, Shape{40, 0, 9},
                          Shape{40, 9, 0}, Shape{80, 0, 9}, Shape{80, 9, 0}}) {
        shape.grad = grad;
        shape.accumulate = accumulate;
        for (const bool tiles : {false, true}) {
          shape.tiles = tiles;
          for (const Isa isa : available(tiles)) {
            const Problem problem(shape);
            const std::vector<float> c = problem.run(isa);
            INFO(shape.text() << ", " << isa_name(isa));
            int64_t wrong = 0;
            for (int64_t i = 0; i < shape.m; ++i) {
              for (int64_t j = 0; j < problem.ldc(); ++j) {
                const bool cleared = j < shape.columns() && !accumulate && shape.sum_length() == 0;
                const float want = cleared ? 0.0F : problem.old(i, j);
                if (shape.sum_length() > 0 && j < shape.columns()) continue;
                wrong += std::bit_cast<std::uint32_t>(want) !=
                         std::bit_cast<std::uint32_t>(c[index(i * problem.ldc() + j)]);
              }
            }
            CHECK(wrong == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("matrix products refuse rows longer than their leading dimension", "[kernels]") {
  LinearJob job;
  job.m = 2, job.n = 3, job.k = 4;
  job.lda = 3, job.ldw = 4, job.ldc = 3;
  CHECK_THROWS_AS(tile_count(job), lancet::Error);
  job.lda = 4;
  CHECK(tile_count(job) > 0);
  job.k = -1;
  CHECK_THROWS_AS(tile_count(job), lancet::Error);
}
