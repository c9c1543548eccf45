// Loops of merge/ops: each instruction set gives the bits of the plain twin, and the plain twin the
// obvious result.
#include "merge/ops/vector.h"

#include <bit>
#include <cstring>
#include <numeric>

#include "core/dispatch.h"
#include "core/rng.h"
#include "merge/ops/convert.h"
#include "merge/ops/keys.h"
#include "merge/ops/rank_mask.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct IsaLimit {
  explicit IsaLimit(Isa highest) { limit_isa(highest); }
  ~IsaLimit() { limit_isa(Isa::kAvx512); }
};

/// Everything that one pass over the operations computes, as bytes.
std::vector<std::uint64_t> run_all(const Values& a, const Values& b) {
  Values x(a), mixed(a.size()), divisor(a.size());
  ops::add(x, b);
  ops::add_scaled(x, a, 0.3);
  ops::subtract(x, b);
  ops::scale(x, 1.1);
  const std::vector<ops::Vote> votes{
      {x.data(), 1.1, 0.7}, {a.data(), 1, 0.4}, {b.data(), 0.9, -0.2}};
  ops::elect(mixed, a, votes, {.divide = true, .lambda = 0.8});
  ops::elect(divisor, b, votes, {.by_values = true, .divide = true, .smallest = 1e-6});
  ops::divide_nonzero(mixed, divisor);
  Values two(a.size()), halves(a.size());
  ops::elect(two, a, std::span(votes).first(2), {.divide = true, .lambda = 0.8});
  ops::elect(halves, two, std::vector<ops::Vote>{{x.data()}, {b.data()}},
             {.by_values = true, .divide = true});
  ops::multiply(x, b);
  std::vector<std::uint32_t> keys(a.size()), apart(a.size());
  ops::magnitude_keys(keys, x);
  ops::difference_keys(apart, a, b);
  std::vector<std::uint32_t> inside(a.size()), words(a.size()), places(a.size());
  std::vector<std::uint8_t> bits((a.size() + 7) / 8);
  const auto [low, high] = std::minmax(keys[0], keys[a.size() - 1]);
  const ops::Collected found =
      ops::collect_window(keys, {low, high, keys[a.size() / 2]}, inside.data());
  Random(5, "x").fill_bits(0, words);
  std::vector<std::uint32_t> some(keys);
  for (std::size_t i = 0; i < some.size(); i += 5) some[i] = 0;
  const std::size_t drawn = ops::find_words(words, some, 3U << 20, 11U << 20, places.data());
  ops::mark_between(bits, keys, low, high);
  Values magnitudes(a), random(b);
  ops::keep_magnitudes(magnitudes, low, high);
  ops::keep_random(random, words, ops::chance_limit(0.4));
  std::vector<std::uint64_t> out{drawn,
                                 found.inside,
                                 found.above,
                                 found.pivots,
                                 ops::count_above(keys, keys[keys.size() / 3]),
                                 ops::count_equal(keys, keys[keys.size() / 4]),
                                 std::bit_cast<std::uint64_t>(ops::dot(a, b)),
                                 std::bit_cast<std::uint64_t>(ops::sum(a)),
                                 std::bit_cast<std::uint64_t>(ops::abs_sum(b))};
  for (const double v : x) out.push_back(std::bit_cast<std::uint64_t>(v));
  out.insert(out.end(), inside.begin(), inside.begin() + static_cast<std::ptrdiff_t>(found.inside));
  out.insert(out.end(), places.begin(), places.begin() + static_cast<std::ptrdiff_t>(drawn));
  out.insert(out.end(), bits.begin(), bits.end());
  out.insert(out.end(), apart.begin(), apart.end());
  for (const Values* values : {&mixed, &two, &halves, &magnitudes, &random}) {
    for (const double v : *values) out.push_back(std::bit_cast<std::uint64_t>(v));
  }
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<std::byte> bytes(dtype_bytes(dtype, a.size()).value());
    Values back(a.size());
    CHECK(ops::store_values(dtype, a, bytes));
    CHECK(ops::load_values(dtype, bytes, back));
    Values less(b.begin(), b.end());
    CHECK(ops::load_differences(dtype, bytes, a, less));
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(less[i] == back[i] - a[i]);
    for (const double v : back) out.push_back(std::bit_cast<std::uint64_t>(v));
  }
  return out;
}

}  // namespace

TEST_CASE("merge ops: every instruction set gives the same bits, whatever the length") {
  for (const std::size_t n : {1U, 3U, 15U, 16U, 17U, 100U, 1000U, 4099U}) {
    const Values a = random_values(n, 1), b = random_values(n, 2);
    const auto best = run_all(a, b);
    for (const Isa isa : {Isa::kPlain, Isa::kAvx2}) {
      const IsaLimit limit(isa);
      CHECK(run_all(a, b) == best);
    }
  }
}

TEST_CASE("merge ops: an election of two is one of three whose third has nothing to say") {
  const std::size_t n = 1003;
  Values a = random_values(n, 5), b = random_values(n, 6);
  const Values base = random_values(n, 7), nothing(n, 0.0);
  for (std::size_t i = 0; i < n; i += 4) a[i] = 0;
  for (std::size_t i = 0; i < n; i += 6) b[i] = i % 12 == 0 ? 0 : -a[i];
  for (const auto& [first, second] : std::vector<std::pair<double, double>>{
           {1, 1}, {0.5, 0.5}, {2, 0}, {0.6, 0.4}, {-0.3, 0.7}, {1, -1}, {0, 0}}) {
    const std::vector<ops::Vote> votes{
        {a.data(), 1.25, first}, {b.data(), 0.75, second}, {nothing.data(), 1, 0.9}};
    for (const bool by_values : {false, true}) {
      for (const bool divide : {false, true}) {
        for (const double smallest : {-HUGE_VAL, 1e-6}) {
          const ops::Election election{
              .by_values = by_values, .divide = divide, .smallest = smallest, .lambda = 0.7};
          Values two(n), three(n);
          ops::elect(two, base, std::span(votes).first(2), election);
          ops::elect(three, base, votes, election);
          CHECK(two == three);
        }
      }
    }
  }
}

TEST_CASE("merge ops: keys of stored bfloat16 are those of the decoded values and differences") {
  // Every finite one, beside one far from it in size and sign.
  std::vector<std::uint16_t> in, base;
  for (std::uint32_t bits = 0; bits < 1U << 16; ++bits) {
    const std::uint32_t other = bits * 40503U % (1U << 16);
    if ((bits & 0x7F80U) == 0x7F80U || (other & 0x7F80U) == 0x7F80U) continue;
    in.push_back(static_cast<std::uint16_t>(bits));
    base.push_back(static_cast<std::uint16_t>(other));
  }
  const Bytes stored = std::as_bytes(std::span(in)), less = std::as_bytes(std::span(base));
  Values values(in.size()), bases(in.size()), differences(in.size());
  REQUIRE(ops::load_values(DType::kBF16, stored, values));
  REQUIRE(ops::load_values(DType::kBF16, less, bases));
  REQUIRE(ops::load_differences(DType::kBF16, stored, bases, differences));
  for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
    const IsaLimit limit(isa);
    std::vector<std::uint32_t> keys(in.size()), expected(in.size());
    ops::bfloat16_keys(keys, stored, {});
    ops::magnitude_keys(expected, values);
    CHECK(keys == expected);
    ops::bfloat16_keys(keys, stored, less);
    ops::magnitude_keys(expected, differences);
    CHECK(keys == expected);
  }
}

TEST_CASE("merge ops: magnitudes are kept by their keys, on both sides of where float32 rounds") {
  for (const std::uint32_t low : {0U, 1U, 2U, 0x007FFFFFU, 0x3F800000U, 0x3F800001U, 0x7F7FFFFEU}) {
    const std::uint32_t high = low + 1;
    Values x{0, HUGE_VAL, 0x1p128, 0x1.ffffffp127};
    for (std::uint32_t key = low; key < std::min(low + 3, 0x7F7FFFFFU); ++key) {
      const double here = std::bit_cast<float>(key), next = std::bit_cast<float>(key + 1);
      const double middle = (here + next) / 2;
      for (const double v : {here, middle, next}) {
        for (const double w : {std::nextafter(v, 0.0), v, std::nextafter(v, HUGE_VAL)}) {
          x.push_back(w);
          x.push_back(-w);
        }
      }
    }
    std::vector<std::uint32_t> keys(x.size());
    ops::magnitude_keys(keys, x);
    Values kept(x);
    ops::keep_magnitudes(kept, low, high);
    for (std::size_t i = 0; i < x.size(); ++i) {
      INFO(low << ' ' << x[i]);
      CHECK(kept[i] == (keys[i] > low && keys[i] <= high ? x[i] : 0.0));
    }
  }
}

TEST_CASE("merge ops: sums and dots are those of long double") {
  const Values a = random_values(10007, 3), b = random_values(10007, 4);
  long double dot = 0, sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<long double>(a[i]) * b[i];
    sum += a[i];
  }
  CHECK(ops::dot(a, b) == Approx(static_cast<double>(dot)).epsilon(1e-12));
  CHECK(ops::sum(a) == Approx(static_cast<double>(sum)).epsilon(1e-12));
}

TEST_CASE("merge ops: float64 is rounded once to 16 bits, to nearest even") {
  // Just above and below the middle of two bfloat16: rounding through float32 would lose the
  // difference.
  const double low = 1.0, high = 1.0 + 0x1p-7, middle = 1.0 + 0x1p-8;
  const Values in{middle, middle + 0x1p-50, middle - 0x1p-50, high + 0x1p-8, -middle - 0x1p-45};
  std::vector<std::byte> bytes(2 * in.size());
  Values out(in.size());
  REQUIRE(ops::store_values(DType::kBF16, in, bytes));
  REQUIRE(ops::load_values(DType::kBF16, bytes, out));
  CHECK(out == Values{low, high, low, 1.0 + 0x1p-6, -high});
  const Values half{1.0 + 0x1p-11, 1.0 + 0x1p-11 + 0x1p-52, 1.0 + 0x1p-11 - 0x1p-52};
  std::vector<std::byte> two(6);
  Values back(3);
  REQUIRE(ops::store_values(DType::kF16, half, two));
  REQUIRE(ops::load_values(DType::kF16, two, back));
  CHECK(back == Values{1.0, 1.0 + 0x1p-10, 1.0});
}

TEST_CASE("merge ops: what is not finite is seen in both directions") {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      Values in(37, 1.0);
      in[33] = bad;
      std::vector<std::byte> bytes(dtype_bytes(dtype, in.size()).value());
      CHECK_FALSE(ops::store_values(dtype, in, bytes));
      Values out(in.size());
      CHECK_FALSE(ops::load_values(dtype, bytes, out));
    }
  }
  std::vector<std::byte> two(2);
  CHECK_FALSE(ops::store_values(DType::kF16, Values{65520}, two));
  CHECK(ops::store_values(DType::kF16, Values{65519.99}, two));
  CHECK_FALSE(ops::store_values(DType::kBF16, Values{3.4e38}, two));
  for (const double sign : {1.0, -1.0}) {  // the middle between the largest bfloat16 and 2^128
    CHECK_FALSE(ops::store_values(DType::kBF16, Values{sign * 0x1.ffp127}, two));
    CHECK(ops::store_values(DType::kBF16, Values{sign * std::nextafter(0x1.ffp127, 0)}, two));
  }
}

TEST_CASE("merge ops: the largest k are those of a stable sort, ties by index") {
  const std::size_t n = 20011;
  for (const double grid : {0.0, 0.25}) {  // a grid makes many ties
    Values delta = random_values(n, 9);
    for (double& v : delta) v = grid > 0 ? std::round(v / grid) * grid : v;
    for (const double density : {0.0001, 0.1, 0.5, 0.9}) {
      const TensorMerge merge{.method = "ties",
                              .shape = {static_cast<std::int64_t>(n)},
                              .models = {delta},
                              .base = Values(n, 0.0),
                              .given = {{"weight", {1}}, {"density", {density}}}};
      std::vector<std::size_t> order(n);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::ranges::stable_sort(order, [&](std::size_t i, std::size_t j) {
        return std::fabs(delta[i]) > std::fabs(delta[j]);
      });
      const auto keep =
          std::max<std::size_t>(1, static_cast<std::size_t>(density * static_cast<double>(n)));
      Values expected(n);
      for (std::size_t k = 0; k < keep; ++k) expected[order[k]] = delta[order[k]];
      CHECK(merge.run() == expected);
    }
  }
}

TEST_CASE("merge ops: ranks of a row are those of a stable ascending sort") {
  std::vector<std::uint32_t> keys(777);
  std::mt19937 engine(5);
  for (auto& key : keys) key = static_cast<std::uint32_t>(engine() % 300 * 7919);
  std::vector<std::uint32_t> ranks(keys.size()), order(keys.size());
  ops::rank_row(keys, ranks);
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, {}, [&](std::uint32_t i) { return keys[i]; });
  for (std::uint32_t r = 0; r < order.size(); ++r) CHECK(ranks[order[r]] == r);
}

TEST_CASE("merge ops: masks by rank are those of the ranks of a stable sort") {
  // Widths of one bin and of many; values that are all different, on a coarse grid, mostly zero.
  for (const std::size_t n : {1U, 2U, 63U, 64U, 65U, 300U, 5632U, 20000U}) {
    for (const double grid : {0.0, 0.25, 3.0}) {
      Values row = random_values(n, static_cast<unsigned>(n));
      for (double& v : row) v = grid > 0 ? std::round(v / grid) * grid : v;
      std::vector<std::uint32_t> keys(n), words(n), ranks(n), bins(n), open(n), dropped(n);
      ops::magnitude_keys(keys, row);
      ops::rank_row(keys, ranks);
      Random(3, "mask").fill_bits(0, words);
      const ops::RankChance chance{0.2, n > 1 ? 0.6 / static_cast<double>(n - 1) : 0};
      Values expected(row);
      for (std::size_t i = 0; i < n; ++i) {
        const double drawn = static_cast<double>(words[i] >> 8) * 0x1p-24;
        if (!(drawn < chance.least + chance.step * ranks[i])) expected[i] = 0;
      }
      for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
        const IsaLimit limit(isa);
        Values out(row);
        ops::keep_by_rank(out, keys, words, chance, {bins, open, dropped});
        CHECK(out == expected);
      }
    }
  }
}

TEST_CASE("merge ops: marks keep what was not zero") {
  for (const std::size_t n : {1U, 7U, 8U, 9U, 1000U}) {
    Values some = random_values(n, 3);
    for (std::size_t i = 0; i < n; i += 3) some[i] = 0;
    for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
      const IsaLimit limit(isa);
      std::vector<std::uint8_t> bits((n + 7) / 8);
      ops::mark_nonzero(bits, some);
      Values x(n, 2.0);
      ops::keep_marked(x, bits);
      for (std::size_t i = 0; i < n; ++i) CHECK((x[i] == 2.0) == (some[i] != 0));
    }
  }
}

TEST_CASE("merge ops: words and keys that are found are those that a plain search finds") {
  for (const std::size_t n : {1U, 7U, 16U, 17U, 1000U}) {
    std::vector<std::uint32_t> words(n), keys(n);
    Random(8, "words").fill_bits(0, words);
    Random(9, "keys").fill_bits(0, keys);
    for (std::uint32_t& key : keys) key = key % 4 == 0 ? 0 : key >> 1;
    const ops::Window window{1U << 28, UINT32_MAX, keys[n / 2]};
    const std::uint32_t low = 1U << 22, high = 1U << 23;
    std::vector<std::uint32_t> places, inside;
    std::vector<std::uint8_t> marked((n + 7) / 8);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t word = words[i] >> 8;
      if (word >= low && word < high && keys[i] != 0)
        places.push_back(static_cast<std::uint32_t>(i));
      if (keys[i] >= window.low && keys[i] != window.pivot) inside.push_back(keys[i]);
      if (keys[i] > low && keys[i] <= 1U << 30)
        marked[i / 8] = static_cast<std::uint8_t>(marked[i / 8] | 1U << i % 8);
    }
    for (const Isa isa : {Isa::kPlain, Isa::kAvx2, Isa::kAvx512}) {
      const IsaLimit limit(isa);
      std::vector<std::uint32_t> found(n), collected(n);
      found.resize(ops::find_words(words, keys, low, high, found.data()));
      CHECK(found == places);
      const ops::Collected counts = ops::collect_window(keys, window, collected.data());
      collected.resize(counts.inside);
      CHECK(collected == inside);
      CHECK(counts.above == 0);
      std::vector<std::uint8_t> bits(marked.size(), 0xAA);
      ops::mark_between(bits, keys, low, 1U << 30);
      CHECK(bits == marked);
    }
  }
}
