// Laws of sampling, on hand-made logits.

#include <array>
#include <cmath>

#include "core/error.h"
#include "model/sampling.h"
#include "tests/catch.h"
#include "tests/tolerances.h"

using namespace lancet;

namespace {

constexpr std::array<double, 5> kProbabilities{0.4, 0.3, 0.15, 0.1, 0.05};

std::vector<float> logits() {
  std::vector<float> out;
  for (const double p : kProbabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

std::array<int, 5> frequencies(const SamplingOptions& options, int draws, std::uint64_t seed = 3) {
  Sampler sampler(options, seed, 0);
  std::array<int, 5> counts{};
  for (int i = 0; i < draws; ++i) {
    auto row = logits();
    ++counts.at(static_cast<std::size_t>(sampler.next(row)));
  }
  return counts;
}

SamplingOptions at_temperature(double temperature) {
  SamplingOptions options;
  options.temperature = temperature;
  return options;
}

}  // namespace

TEST_CASE("sampling: frequencies follow the distribution, at temperature 1 and 2") {
  for (const double temperature : {1.0, 2.0}) {
    std::array<double, 5> expected{};
    double total = 0;
    for (std::size_t i = 0; i < 5; ++i)
      total += expected.at(i) = std::pow(kProbabilities.at(i), 1 / temperature);
    constexpr int kDraws = 20000;
    const auto counts = frequencies(at_temperature(temperature), kDraws);
    double chi_square = 0;
    for (std::size_t i = 0; i < 5; ++i) {
      const double mean = kDraws * expected.at(i) / total;
      chi_square += (counts.at(i) - mean) * (counts.at(i) - mean) / mean;
    }
    CHECK(chi_square < tolerance::kChiSquare4);
  }
}

TEST_CASE("sampling: the same seed draws the same, another seed and another sequence do not") {
  const auto run = [](std::uint64_t seed, std::uint32_t sequence) {
    Sampler sampler(at_temperature(1), seed, sequence);
    std::vector<std::int32_t> out;
    for (int i = 0; i < 50; ++i) {
      auto row = logits();
      out.push_back(sampler.next(row));
    }
    return out;
  };
  CHECK(run(1, 0) == run(1, 0));
  CHECK(run(1, 0) != run(2, 0));
  CHECK(run(1, 0) != run(1, 1));
}

TEST_CASE("sampling: temperature 0 and top_k 1 take the largest logit") {
  auto row = logits();
  CHECK(Sampler(at_temperature(0), 0, 0).next(row) == 0);
  SamplingOptions one = at_temperature(5);
  one.top_k = 1;
  CHECK(frequencies(one, 200)[0] == 200);
}

TEST_CASE("sampling: top_k, top_p and min_p cut the tail and nothing else") {
  SamplingOptions top_k = at_temperature(1);
  top_k.top_k = 2;
  SamplingOptions top_p = at_temperature(1);
  top_p.top_p = 0.75;  // 0.4 + 0.3 < 0.75: the third is needed, the fourth is not
  SamplingOptions min_p = at_temperature(1);
  min_p.min_p = 0.3;  // of 0.4: keeps what has at least 0.12
  const auto a = frequencies(top_k, 3000);
  const auto b = frequencies(top_p, 3000);
  const auto c = frequencies(min_p, 3000);
  CHECK((a[0] > 0 && a[1] > 0 && a[2] + a[3] + a[4] == 0));
  CHECK((b[0] > 0 && b[1] > 0 && b[2] > 0 && b[3] + b[4] == 0));
  CHECK((c[0] > 0 && c[1] > 0 && c[2] > 0 && c[3] + c[4] == 0));
}

TEST_CASE(
    "sampling: the repetition penalty divides positive and multiplies negative logits of seen "
    "tokens") {
  SamplingOptions options = at_temperature(0);
  options.repetition_penalty = 2;
  Sampler sampler(options, 0, 0);
  sampler.see(0);
  sampler.see(2);
  sampler.see(2);
  std::vector<float> row{3.0F, 1.0F, -1.0F, 1.6F};
  CHECK(sampler.next(row) == 3);
  CHECK(row == std::vector<float>{1.5F, 1.0F, -2.0F, 1.6F});
}

TEST_CASE("sampling: options out of range are usage errors that name the option") {
  const auto refused = [](auto change, const char* option) {
    SamplingOptions options;
    change(options);
    try {
      check_sampling(options);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      CHECK_THAT(error.message(), Catch::Contains(option));
    }
  };
  refused([](auto& o) { o.max_tokens = 0; }, "--max-tokens");
  refused([](auto& o) { o.temperature = -1; }, "--temperature");
  refused([](auto& o) { o.temperature = NAN; }, "--temperature");
  refused([](auto& o) { o.top_p = 0; }, "--top-p");
  refused([](auto& o) { o.min_p = 2; }, "--min-p");
  refused([](auto& o) { o.top_k = -1; }, "--top-k");
  refused([](auto& o) { o.repetition_penalty = 0; }, "--repetition-penalty");
  refused([](auto& o) { o.stop = {""}; }, "--stop");
}
