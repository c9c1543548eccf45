// Laws of packing: every row once, nothing over the length, the same for the same input; and
// best-fit decreasing against the obvious quadratic version.

#include "distill/train/pack.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "tests/core/scratch.h"
#include "tests/torch_catch.h"

using namespace lancet;

namespace {

std::vector<std::uint32_t> random_lengths(std::size_t count, std::uint32_t most,
                                          std::uint64_t seed) {
  const Random random(seed, "lengths");
  std::vector<std::uint32_t> out(count);
  // Mostly short, as chat data is.
  for (std::size_t i = 0; i < count; ++i) {
    const double u = random.uniform64(i);
    out[i] = 1 + static_cast<std::uint32_t>(u * u * u * (most - 1));
  }
  return out;
}

std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed) {
  const Random random(seed, "order");
  std::vector<std::size_t> out(count);
  std::iota(out.begin(), out.end(), 0);
  std::sort(out.begin(), out.end(), [&](std::size_t a, std::size_t b) {
    return random.bits(a) != random.bits(b) ? random.bits(a) < random.bits(b) : a < b;
  });
  return out;
}

void check_laws(const std::vector<Pack>& packs, const std::vector<std::size_t>& order,
                const std::vector<std::uint32_t>& lengths) {
  std::vector<std::size_t> seen;
  for (const Pack& pack : packs) {
    std::int64_t tokens = 0;
    for (const std::size_t row : pack.examples) tokens += lengths[row];
    CHECK(tokens == pack.tokens);
    seen.insert(seen.end(), pack.examples.begin(), pack.examples.end());
  }
  std::vector<std::size_t> wanted = order;
  std::sort(wanted.begin(), wanted.end());
  std::sort(seen.begin(), seen.end());
  CHECK(seen == wanted);
}

/// Rows from the longest down, each into the fullest pack that has room: by looking at all packs.
std::vector<std::int64_t> plain_best_fit(std::vector<std::uint32_t> lengths,
                                         std::int64_t capacity) {
  std::sort(lengths.rbegin(), lengths.rend());
  std::vector<std::int64_t> rooms;
  for (const std::uint32_t length : lengths) {
    std::int64_t* best = nullptr;
    for (std::int64_t& room : rooms) {
      if (room >= length && (best == nullptr || room < *best)) best = &room;
    }
    if (best == nullptr) best = &rooms.emplace_back(capacity);
    *best -= length;
  }
  std::sort(rooms.begin(), rooms.end());
  return rooms;
}

}  // namespace

TEST_CASE("pack: every row once, none over the length, as full as the plain best fit") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const auto lengths = random_lengths(700, 512, seed);
    const auto order = shuffled(700, seed);
    const auto packs = pack_best_fit(order, lengths, 512);
    check_laws(packs, order, lengths);
    std::vector<std::int64_t> rooms;
    for (const Pack& pack : packs) {
      CHECK(pack.tokens <= 512);
      rooms.push_back(512 - pack.tokens);
    }
    std::sort(rooms.begin(), rooms.end());
    CHECK(rooms == plain_best_fit(lengths, 512));
    CHECK(report_packs(packs, lengths, 512).fill > 0.97);
  }
}

TEST_CASE("pack: the order decides the packs and nothing else does") {
  const auto lengths = random_lengths(300, 100, 9);
  const auto order = shuffled(300, 9);
  const auto once = pack_best_fit(order, lengths, 128), again = pack_best_fit(order, lengths, 128);
  REQUIRE(once.size() == again.size());
  for (std::size_t i = 0; i < once.size(); ++i) CHECK(once[i].examples == again[i].examples);
  CHECK(once.front().examples.front() == order.front());
  const auto other = pack_best_fit(shuffled(300, 10), lengths, 128);
  CHECK(other.front().examples != once.front().examples);
}

TEST_CASE("pack: a part of the rows may be packed") {
  const std::vector<std::uint32_t> lengths{5, 100, 3, 4};
  const std::vector<std::size_t> order{3, 0, 2};
  const auto packs = pack_best_fit(order, lengths, 9);
  check_laws(packs, order, lengths);
  CHECK(packs.size() == 2);
}

TEST_CASE("pack: padded batches keep to their rows or to their size") {
  const auto lengths = random_lengths(500, 200, 4);
  const auto order = shuffled(500, 4);
  const auto by_rows = batch_rows(order, lengths, 8);
  check_laws(by_rows, order, lengths);
  CHECK(by_rows.size() == 63);
  CHECK(by_rows[1].examples == std::vector<std::size_t>(order.begin() + 8, order.begin() + 16));
  const auto by_tokens = batch_tokens(order, lengths, 1000);
  check_laws(by_tokens, order, lengths);
  for (const Pack& pack : by_tokens) {
    std::int64_t longest = 0;
    for (const std::size_t row : pack.examples)
      longest = std::max(longest, static_cast<std::int64_t>(lengths[row]));
    CHECK(longest * static_cast<std::int64_t>(pack.examples.size()) <= 1000);
  }
  // Rows of about one length together waste less than rows as they come.
  CHECK(report_packs(by_tokens, lengths, 0).padding >
        report_packs(by_rows, lengths, 0).padding + 0.2);
}

TEST_CASE("pack: a row that fits nowhere is an error that says what to do") {
  const std::vector<std::uint32_t> lengths{5, 50};
  const std::vector<std::size_t> order{0, 1};
  const auto error = test::error_of([&] { (void)pack_best_fit(order, lengths, 49); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK(error->message() == "a row of 50 tokens does not fit a pack of 49");
  CHECK(test::error_of([&] { (void)batch_tokens(order, lengths, 49); }).has_value());
  CHECK(test::error_of([&] { (void)batch_rows(order, lengths, 0); }).has_value());
  CHECK(pack_best_fit({}, lengths, 10).empty());
  CHECK(batch_tokens({}, lengths, 10).empty());
}
