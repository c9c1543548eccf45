#include <random>
#include <set>

#include "core/dispatch.h"
#include "core/json.h"
#include "distill/minhash/lsh.h"
#include "distill/minhash/sha1_lanes.h"
#include "distill/minhash/signature.h"
#include "distill/text/words.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

const Json& goldens() {
  static const Json json = read_json(fs::path(LANCET_TEST_DATA) / "distill/minhash.json");
  return json;
}

double jaccard(const std::string& a, const std::string& b) {
  const auto x = character_shingles(a, 5), y = character_shingles(b, 5);
  const std::set<std::string_view> p(x.begin(), x.end()), q(y.begin(), y.end());
  std::size_t both = 0;
  for (const auto s : p) both += q.count(s);
  return static_cast<double>(both) / static_cast<double>(p.size() + q.size() - both);
}

/// Words of random letters; `changed` of them replaced.
std::string random_text(std::mt19937& random, std::size_t words) {
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    for (int j = 0; j < 6; ++j) text += static_cast<char>('a' + random() % 26);
    text += ' ';
  }
  return text;
}

}  // namespace

TEST_CASE("minhash: signatures are datasketch's, value for value, with every instruction set") {
  for (const Isa highest : {Isa::kAvx512, Isa::kAvx2, Isa::kPlain}) {
    limit_isa(highest);
    for (const Json& golden : goldens()["signatures"]) {
      const auto text = golden["text"].get<std::string>();
      const auto values = golden["values"].get<Signature>();
      const MinHash hash(values.size(), golden["seed"].get<std::uint32_t>());
      INFO(text << " " << golden["size"]);
      CHECK(hash.sign(character_shingles(text, golden["size"].get<std::size_t>())) == values);
    }
  }
}

TEST_CASE("minhash: bands and rows are those that datasketch chooses") {
  for (const Json& golden : goldens()["bands"]) {
    const Banding banding = choose_banding(golden["threshold"].get<double>(),
                                           golden["permutations"].get<std::size_t>());
    INFO(golden.dump());
    CHECK(banding.bands == golden["bands"].get<std::size_t>());
    CHECK(banding.rows == golden["rows"].get<std::size_t>());
  }
  CHECK(candidate_probability({20, 13}, 0.78) == Approx(0.555).margin(0.02));
}

TEST_CASE("minhash: SHA-1 of the standard's examples") {
  const std::string million(1'000'000, 'a');
  const std::vector<std::string_view> texts{
      "abc", "", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", million};
  std::uint32_t words[4];
  sha1_first_words(texts, words);
  // First four bytes, little-endian, of a9993e36..., da39a3ee..., 84983e44..., 34aa973c...
  CHECK(words[0] == 0x363e99a9);
  CHECK(words[1] == 0xeea339da);
  CHECK(words[2] == 0x443e9884);
  CHECK(words[3] == 0x3c97aa34);
}

TEST_CASE("minhash: near duplicates at 0.8 are found, and others are not, as exact Jaccard says") {
  std::mt19937 random(7);
  const MinHash hash(128, 1);
  const Banding banding = choose_banding(0.8, 128);
  std::size_t true_pairs = 0, found_pairs = 0, false_pairs = 0, far_pairs = 0;
  for (int i = 0; i < 400; ++i) {
    std::string a = random_text(random, 60), b = a;
    const std::size_t edits = random() % 50;
    for (std::size_t e = 0; e < edits; ++e) b[random() % b.size()] = '#';
    const double truth = jaccard(a, b);
    LshIndex index(banding, 128);
    index.add(hash.sign(character_shingles(a, 5)));
    const bool found = index.find(hash.sign(character_shingles(b, 5)), 0.8).has_value();
    if (truth >= 0.87) {
      ++true_pairs;
      found_pairs += found ? 1U : 0U;
    } else if (truth <= 0.70) {
      ++far_pairs;
      false_pairs += found ? 1U : 0U;
    }
  }
  INFO(found_pairs << " of " << true_pairs << " found, " << false_pairs << " of " << far_pairs
                   << " wrong");
  REQUIRE(true_pairs > 50);
  REQUIRE(far_pairs > 50);
  // Standard deviation of an estimate of 0.87 by 128 values: 0.03; the bands find 0.87 with P >
  // 0.8.
  CHECK(static_cast<double>(found_pairs) >= 0.85 * static_cast<double>(true_pairs));
  CHECK(static_cast<double>(false_pairs) <= 0.02 * static_cast<double>(far_pairs));
}

TEST_CASE(
    "minhash: of several kept signatures the most similar one is named, and the index grows") {
  const MinHash hash(64, 1);
  std::mt19937 random(3);
  std::vector<std::string> texts;
  LshIndex index(choose_banding(0.5, 64), 64);
  for (int i = 0; i < 3000; ++i) {
    texts.push_back(random_text(random, 20));
    index.add(hash.sign(character_shingles(texts.back(), 5)));
  }
  for (const std::size_t i : {0U, 1234U, 2999U}) {
    const auto match = index.find(hash.sign(character_shingles(texts[i], 5)), 0.5);
    REQUIRE(match);
    CHECK(match->index == i);
    CHECK(match->similarity == 1);
  }
  CHECK_FALSE(index.find(hash.sign(character_shingles(random_text(random, 20), 5)), 0.5));
}

TEST_CASE(
    "words: normalisation composes, lowers and collapses; words keep marks and split ideographs") {
  CHECK(normalise_text("  The\tQUICK \n fox ") == "the quick fox");
  CHECK(normalise_text("Cafe\u0301  \u00C4RGER\u3000x") == "caf\u00e9 \u00e4rger x");
  CHECK(normalise_text("") == "");
  const std::string text = "it's 42\u4e2d\u6587, na\u00efve";
  const auto words = words_of(text);
  CHECK(std::vector<std::string>(words.begin(), words.end()) ==
        std::vector<std::string>{"it", "s", "42", "\u4e2d", "\u6587", "na\u00efve"});
}

TEST_CASE("words: rolling n-gram hashes are equal exactly where the n-grams are") {
  std::mt19937 random(5);
  std::vector<std::uint64_t> values(300);
  for (auto& value : values) value = mix64(random() % 3);
  for (const std::size_t n : {1U, 2U, 5U, 13U}) {
    const auto hashes = hash_ngrams(values, n);
    REQUIRE(hashes.size() == values.size() - n + 1);
    for (std::size_t i = 0; i < hashes.size(); i += 7) {
      for (std::size_t j = 0; j < hashes.size(); ++j) {
        const bool same = std::equal(values.begin() + static_cast<std::ptrdiff_t>(i),
                                     values.begin() + static_cast<std::ptrdiff_t>(i + n),
                                     values.begin() + static_cast<std::ptrdiff_t>(j));
        if ((hashes[i] == hashes[j]) != same) FAIL("n " << n << " at " << i << " and " << j);
      }
    }
  }
  CHECK(hash_ngrams(values, 301).empty());
}
