#include "core/rng.h"

#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "core/dispatch.h"
#include "tests/catch.h"

using namespace lancet;
using Words = std::array<std::uint32_t, 4>;

TEST_CASE("philox4x32: the known answers of Random123 come out") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t f = 0xffffffff;
  CHECK(philox4x32({f, f, f, f}, {f, f}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Random: the stored values of a stream never change") {
  const Random random(42, "model.layers.0.mlp.down_proj.weight", 1);
  CHECK(random.bits(0) == 0x1352c692U);
  CHECK(random.bits(5) == 0x6a83b4f6U);
  CHECK(random.bits(1ULL << 40) == 0xeb049727U);
  CHECK(random.uniform64(3) == 0.34505734246505537);
  CHECK(random.normal(3) == Approx(0.8951588753808465));
}

TEST_CASE("Random: seed and name and source and element each change the value") {
  std::set<std::uint32_t> seen;
  for (const std::uint64_t seed : {0ULL, 1ULL, 1ULL << 32}) {
    for (const char* name : {"", "a", "b", "ab"}) {
      for (const std::uint32_t source : {0U, 1U}) {
        for (const std::uint64_t element : {0ULL, 1ULL, 4ULL, 1ULL << 34}) {
          seen.insert(Random(seed, name, source).bits(element));
        }
      }
    }
  }
  CHECK(seen.size() == 3 * 4 * 2 * 4);
}

TEST_CASE("Random: fill gives the same values as single calls at any start and length") {
  const Random random(7, "drop");
  for (const std::uint64_t first : {0ULL, 1ULL, 2ULL, 3ULL, 4294967295ULL}) {
    for (const std::size_t length : {0U, 1U, 5U, 64U, 3001U}) {
      std::vector<std::uint32_t> bits(length);
      std::vector<float> uniform(length);
      random.fill_bits(first, bits);
      std::vector<float> normal(length);
      random.fill_uniform(first, uniform);
      random.fill_normal(first, normal);
      for (std::size_t i = 0; i < length; ++i) {
        CHECK(bits[i] == random.bits(first + i));
        CHECK(uniform[i] == random.uniform(first + i));
        CHECK(normal[i] == random.normal(first + i));
      }
    }
  }
}

TEST_CASE("philox_run: every instruction set gives the words of single blocks, also across 2^32") {
  const std::array<std::uint32_t, 2> upper{7, 9}, key{0x12345678, 0x9abcdef0};
  for (const std::uint64_t first : {std::uint64_t{0}, (std::uint64_t{1} << 32) - 40}) {
    for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
      limit_isa(isa);
      std::vector<std::uint32_t> words(4 * 83);
      philox_run(words.data(), first, 83, upper, key);
      for (std::size_t i = 0; i < 83; ++i) {
        const std::uint64_t at = first + i;
        const Words block = philox4x32({static_cast<std::uint32_t>(at),
                                        static_cast<std::uint32_t>(at >> 32), upper[0], upper[1]},
                                       key);
        CHECK(std::equal(block.begin(), block.end(),
                         words.begin() + static_cast<std::ptrdiff_t>(4 * i)));
      }
    }
  }
}

TEST_CASE("Random: uniform values stay below one with the mean and variance of their interval") {
  const Random random(1, "uniform");
  constexpr int kCount = 200'000;
  double sum = 0;
  double squares = 0;
  double wide = 0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const float value = random.uniform(i);
    REQUIRE((value >= 0 && value < 1));
    sum += value;
    squares += double{value} * double{value};
    wide += random.uniform64(i);
  }
  CHECK(sum / kCount == Approx(0.5).margin(0.003));
  CHECK(wide / kCount == Approx(0.5).margin(0.003));
  CHECK(squares / kCount - std::pow(sum / kCount, 2) == Approx(1.0 / 12).margin(0.001));
}

TEST_CASE("Random: normal values have the first four moments of the standard normal") {
  const Random random(1, "normal");
  constexpr int kCount = 200'000;
  std::array<double, 4> moments{};
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double value = random.normal(i);
    REQUIRE(std::isfinite(value));
    double power = 1;
    for (double& moment : moments) moment += (power *= value) / kCount;
  }
  CHECK(moments[0] == Approx(0).margin(0.01));
  CHECK(moments[1] == Approx(1).margin(0.02));
  CHECK(moments[2] == Approx(0).margin(0.04));
  CHECK(moments[3] == Approx(3).margin(0.12));
}
