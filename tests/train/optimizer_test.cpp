// AdamW against its formula in float64, its 8-bit states, schedules.

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "distill/train/optimizer.h"
#include "distill/train/schedule.h"
#include "formats/quant/dynamic_map.h"
#include "tests/catch.h"
#include "tests/tolerances.h"

using namespace lancet;

namespace {

at::Tensor random_leaf(std::int64_t count, std::uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({7, count / 7}, at::kFloat).requires_grad_(true);
}

/// AdamW of arXiv:1711.05101 for one value, in double.
struct Plain {
  double p, m = 0, v = 0;
  void step(double g, double lr, const OptimizerSettings& s, int t) {
    p *= 1 - lr * s.weight_decay;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    p -= lr * (m / (1 - std::pow(s.beta1, t))) /
         (std::sqrt(v / (1 - std::pow(s.beta2, t))) + s.epsilon);
  }
};

/// Distance of 30 steps from the formula, relative to how far they went.
double distance(const std::string& name) {
  OptimizerSettings settings;
  settings.name = name;
  settings.weight_decay = 0.1;
  settings.lora_plus = 4;
  const std::vector<at::Tensor> leaves{random_leaf(700, 1), random_leaf(700, 2)};
  std::vector<std::vector<Plain>> plain;
  for (const at::Tensor& leaf : leaves) {
    plain.emplace_back();
    for (std::int64_t i = 0; i < leaf.numel(); ++i)
      plain.back().push_back({leaf.view({-1})[i].item<double>()});
  }
  const auto before = plain;
  const auto optimizer = make_optimizer(settings, leaves);
  for (int t = 1; t <= 30; ++t) {
    for (std::size_t l = 0; l < leaves.size(); ++l) {
      at::Tensor leaf = leaves[l];
      leaf.mutable_grad() = random_leaf(700, 100 + static_cast<std::uint64_t>(t)).detach();
      for (std::int64_t i = 0; i < 700; ++i)
        plain[l][static_cast<std::size_t>(i)].step(leaf.grad().view({-1})[i].item<double>() * 0.5,
                                                   1e-3 * (l == 1 ? 4 : 1), settings, t);
    }
    optimizer->step(1e-3, 0.5);
    optimizer->clear_gradients();
  }
  double off = 0;
  double moved = 0;
  for (std::size_t l = 0; l < leaves.size(); ++l) {
    for (std::size_t i = 0; i < 700; ++i) {
      const double own = leaves[l].view({-1})[static_cast<std::int64_t>(i)].item<double>();
      off += std::fabs(own - plain[l][i].p);
      moved += std::fabs(before[l][i].p - plain[l][i].p);
    }
  }
  return off / moved;
}

}  // namespace

TEST_CASE("optimizer: AdamW is its formula, with decay and LoRA+") {
  CHECK(distance("adamw") < tolerance::kOptimizer);
}

TEST_CASE("optimizer: 8-bit states stay near it") {
  CHECK(distance("adamw8bit") < tolerance::kOptimizer8bit);
}

TEST_CASE("optimizer: the dynamic map has 256 values, and a code for each that is nearest") {
  for (const DynamicMap* map : {&signed_map(), &unsigned_map()}) {
    const auto& values = map->values();
    CHECK(values.back() == 1);
    CHECK(values[map->zero_code()] == 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) CHECK(values[i] > values[i - 1]);
      CHECK(map->nearest(values[i]) == i);
    }
    for (int i = 0; i < 1000; ++i) {
      const float x = static_cast<float>(i) / 999 * 2 - 1;
      const float own = values[map->nearest(x)];
      for (const float other : values) REQUIRE(std::fabs(own - x) <= std::fabs(other - x) + 1e-7F);
    }
    // The code is a search of the borders, for floats of every size and sign.
    std::vector<float> borders;
    for (std::size_t i = 0; i + 1 < values.size(); ++i)
      borders.push_back(static_cast<float>((double{values[i]} + double{values[i + 1]}) / 2));
    const auto searched = [&](float x) {
      return std::ranges::lower_bound(borders, x) - borders.begin();
    };
    for (std::uint64_t bits = 0; bits < 1ULL << 32; bits += 65521 / 16) {
      const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      if (!std::isnan(x) && map->nearest(x) != searched(x)) FAIL_CHECK("the code of " << x);
    }
    for (const float x : borders) {
      for (const float near : {std::nextafter(x, -2.0F), x, std::nextafter(x, 2.0F)})
        CHECK(map->nearest(near) == searched(near));
    }
  }
  std::vector<std::uint8_t> codes(3);
  CHECK(signed_map().encode(std::vector<float>{0, 0, 0}, codes.data()) == 0);
  std::vector<float> back(3);
  const float scale = signed_map().encode(std::vector<float>{-8, 4, 0}, codes.data());
  signed_map().decode(codes, scale, back.data());
  CHECK(std::fabs(back[0] + 8) < 0.1);
  CHECK(std::fabs(back[1] - 4) < 0.1);
  CHECK(back[2] == 0);
}

TEST_CASE("optimizer: settings out of range are refused") {
  const auto refused = [](auto&& change) {
    OptimizerSettings settings;
    change(settings);
    try {
      (void)make_optimizer(settings, {});
    } catch (const std::exception& error) {
      return true;
    }
    return false;
  };
  CHECK(refused([](OptimizerSettings& s) { s.lr = 0; }));
  CHECK(refused([](OptimizerSettings& s) { s.beta1 = 1; }));
  CHECK(refused([](OptimizerSettings& s) { s.lora_plus = 0.5; }));
  CHECK(refused([](OptimizerSettings& s) { s.name = "sgd"; }));
  CHECK_FALSE(refused([](OptimizerSettings&) {}));
}

TEST_CASE("schedule: what a run has no room for is told") {
  const auto unmet = [](const char* name, double warmup, double decay, std::int64_t steps) {
    return Schedule({.name = name, .warmup = warmup, .decay = decay}, steps).unmet();
  };
  CHECK_THAT(unmet("cosine", 20, 0.2, 10), Catch::Contains("20 steps of warm-up in a run of 10"));
  CHECK(unmet("cosine", 10, 0.2, 10).empty());
  CHECK_THAT(unmet("wsd", 0.5, 0.9, 10), Catch::Contains("leaves 5 steps for a decay of 9"));
  CHECK(unmet("wsd", 0.5, 0.5, 10).empty());
  CHECK(unmet("wsd", 0.03, 0.2, 1).empty());
  CHECK(unmet("cosine", 0.5, 0.9, 10).empty());
}

TEST_CASE("schedule: warm-up, then each shape to its floor") {
  ScheduleSettings settings;
  settings.warmup = 0.1;
  settings.floor = 0.2;
  const auto factors = [&](const char* name) {
    settings.name = name;
    const Schedule schedule(settings, 100);
    CHECK(schedule.warmup_steps() == 10);
    CHECK(schedule.factor(0) == Approx(0.1));
    CHECK(schedule.factor(9) == Approx(1));
    CHECK(schedule.factor(10) == Approx(1));
    return std::pair(schedule.factor(55), schedule.factor(100));
  };
  CHECK(factors("cosine").first == Approx(0.6));
  CHECK(factors("cosine").second == Approx(0.2));
  CHECK(factors("linear").first == Approx(0.6));
  CHECK(factors("constant").second == Approx(1));
  CHECK(factors("wsd").first == Approx(1));
  CHECK(factors("wsd").second == Approx(0.2));
  settings.warmup = 5;
  CHECK(Schedule(settings, 100).warmup_steps() == 5);
  settings.warmup = 5.5;
  CHECK_THROWS(Schedule(settings, 100));
  settings.warmup = 5;
  settings.name = "cosin";
  CHECK_THROWS(Schedule(settings, 100));
}
