#include "surgery/locate/attribution.h"

#include "tests/catch.h"
#include "tests/surgery/locate/tiny_locate.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

Place place_of(TraceKind kind) {
  return kind == TraceKind::kMlp         ? Place::kMlpOutput
         : kind == TraceKind::kAttention ? Place::kAttentionOutput
                                         : Place::kBlockOutput;
}

/// p(target) of each sample when the state of (token, layer) is moved by `change` [samples, d].
at::Tensor moved(const Decoder& model, const LocatePrompt& prompt, const at::Tensor& start,
                 TraceKind kind, std::int64_t token, std::int64_t layer, const at::Tensor& change) {
  Pass pass;
  pass.hook = [&](std::int64_t at, Place place, const at::Tensor& value) {
    if (at != layer || place != place_of(kind)) return value;
    at::Tensor out = value.clone();
    out.select(1, token).add_(change);
    return out;
  };
  c10::AutoGradMode no_gradient(false);
  return target_probabilities(model, model.run(start, 0, model.spec().layers, pass), prompt.target);
}

/// The same by central differences, one cell at a time: mean over samples and steps.
double plain_effect(const Decoder& model, const LocatePrompt& prompt, const Runs& runs,
                    TraceKind kind, std::int64_t token, std::int64_t layer, std::int64_t steps) {
  constexpr double kStep = 2e-2;
  const auto l = static_cast<std::size_t>(layer);
  const at::Tensor& states = kind == TraceKind::kMlp         ? runs.mlp[l]
                             : kind == TraceKind::kAttention ? runs.attention[l]
                                                             : runs.hidden[l + 1];
  const at::Tensor clean = states[0][token];
  const at::Tensor change = clean - states.narrow(0, 1, runs.samples).select(1, token);
  const at::Tensor from = runs.hidden.front().narrow(0, 1, runs.samples);
  double sum = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    const double fraction =
        steps == 1 ? 0 : (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
    const at::Tensor start = from + fraction * (runs.hidden.front().narrow(0, 0, 1) - from);
    const at::Tensor up = moved(model, prompt, start, kind, token, layer, kStep * change);
    const at::Tensor down = moved(model, prompt, start, kind, token, layer, -kStep * change);
    sum += ((up - down) / (2 * kStep)).mean().item<double>();
  }
  return sum / static_cast<double>(steps);
}

}  // namespace

TEST_CASE("patch: one backward pass equals central differences at every cell") {
  const auto loaded = tiny_locate::load(21);
  for (const std::size_t which : {0U, 4U}) {
    const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[which]);
    const Runs runs =
        run_both(loaded.model, prompt, corrupted_embeddings(loaded.model, prompt, 2, 0.7, 3));
    for (const std::int64_t steps : {1, 3}) {
      for (const Attribution& map : attribute_states(loaded.model, prompt, runs, steps)) {
        const double size = map.effect.abs().max().item<double>();
        REQUIRE(size > 1e-2 * runs.low);
        for (std::int64_t token = 0; token < prompt.size(); ++token) {
          for (std::int64_t layer = 0; layer < 3; ++layer) {
            CAPTURE(prompt.text, trace_kind_name(map.kind), token, layer, steps);
            const double expected =
                plain_effect(loaded.model, prompt, runs, map.kind, token, layer, steps);
            CHECK(std::abs(map.effect[token][layer].item<double>() - expected) <
                  tolerance::kDifferences * size);
          }
        }
      }
    }
  }
}

TEST_CASE("patch: for a small corruption the estimate is the exact effect") {
  const auto loaded = tiny_locate::load(22);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const Runs runs =
      run_both(loaded.model, prompt, corrupted_embeddings(loaded.model, prompt, 4, 0.02, 3));
  for (const Attribution& map : attribute_states(loaded.model, prompt, runs, 1)) {
    const at::Tensor exact =
        trace_states(loaded.model, prompt, runs, std::span(&map.kind, 1), 1).maps[0].scores -
        runs.low;
    CHECK(agreement(map.effect, exact).pearson > 0.99);
  }
}

TEST_CASE("patch: agreement of a map with itself is one, and of opposite orders minus one") {
  const at::Tensor map = at::tensor({0.5, 3.0, 1.0, 2.0, -1.0, 9.0}, at::kDouble).view({2, 3});
  const Agreement same = agreement(map, map, 3);
  CHECK(same.pearson == Approx(1));
  CHECK(same.spearman == Approx(1));
  CHECK(same.top_overlap == 1);
  const Agreement opposite = agreement(map, -map.pow(3), 3);
  CHECK(opposite.spearman == Approx(-1));
  CHECK(opposite.top_overlap == 0);
}
