// Factors of an adapter on another device (here the CPU stands for it): values go, gradients come.

#include <torch/csrc/autograd/autograd.h>

#include "distill/train/device_factors.h"
#include "formats/model_source.h"
#include "model/decoder.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

LoraAdapter adapter_of(bool dora) {
  const auto folder = fs::path(LANCET_TEST_DATA) / "train" / "model";
  const DecoderSpec spec = Decoder::describe(ModelSource::open(folder));
  LoraSettings settings;
  settings.targets = {"all-linear", "embed_tokens"};
  settings.rank = 2;
  settings.dora = dora;
  return {spec, settings, 1};
}

}  // namespace

TEST_CASE("device factors: take the adapter's values, and add their gradients to its own") {
  const LoraAdapter adapter = adapter_of(false);
  DeviceFactors factors(adapter, at::kCPU);
  const LoraParts parts = factors.parts();
  REQUIRE(parts.size() == adapter.parts().size());
  factors.fetch();
  for (const auto& own : adapter.parts()) {
    INFO(own->module);
    const LowRank& copy = *parts.at(own->module);
    CHECK(copy.state == own->state);
    CHECK(copy.a.is_same(own->a) == own->embedding);
    if (own->embedding) continue;
    {
      const at::NoGradGuard no_grad;
      own->b.fill_(3);
      factors.fetch();
    }
    CHECK(at::equal(copy.a, own->a));
    CHECK(at::equal(copy.b, own->b));
    for (int round = 1; round <= 2; ++round) {
      (copy.a * 2).sum().backward();
      factors.give_back();
      CHECK_FALSE(copy.a.grad().defined());
      CHECK_FALSE(own->b.grad().defined());
      CHECK(at::equal(own->a.grad(), at::full_like(own->a, 2 * round)));
    }
  }
}

TEST_CASE("device factors: parts with a magnitude stay the adapter's own") {
  const LoraAdapter adapter = adapter_of(true);
  const DeviceFactors factors(adapter, at::kCPU);
  const LoraParts parts = factors.parts();
  std::size_t with_magnitude = 0;
  for (const auto& own : adapter.parts()) {
    if (!own->magnitude.defined()) continue;
    ++with_magnitude;
    CHECK(parts.at(own->module) == own);
  }
  CHECK(with_magnitude > 0);
}
