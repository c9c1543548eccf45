#include "surgery/locate/neurons.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include <c10/core/GradMode.h>

#include "core/interrupt.h"
#include "core/rng.h"
#include "surgery/locate/runs.h"

namespace lancet {
namespace {

/// The clean run of one prompt: the last prompt token and the target's, with the rest in a cache.
struct Tail {
  std::optional<KvCache> prefix;   ///< one row; nothing when the prompt is one token
  std::vector<at::Tensor> hidden;  ///< [1, tail, d_model] entering each block
  std::vector<at::Tensor> keys;    ///< [d_ff] of the last prompt token
  at::Tensor ids;                  ///< int64 [1, tail]
};

Tail read_tail(const Decoder& model, const LocatePrompt& prompt) {
  const c10::AutoGradMode no_gradient(false);
  const std::int64_t at = prompt.answer_position(), layers = model.spec().layers;
  const at::Tensor ids = prompt.input().unsqueeze(0);
  Tail out;
  if (at > 0) {
    out.prefix.emplace(model.spec(), 1, at, model.options());
    out.prefix->expect({ids.size(1)});
    (void)model.run(model.embed(ids.narrow(1, 0, at)), 0, layers,
                    {.cache = &*out.prefix, .append = true, .lengths = {}, .hook = {}});
    out.prefix->advance({at});
  }
  out.ids = ids.narrow(1, at, ids.size(1) - at).contiguous();
  Pass pass;
  pass.cache = out.prefix ? &*out.prefix : nullptr;
  pass.hook = [&out](std::int64_t, Place place, const at::Tensor& value) {
    if (place == Place::kBlockInput) out.hidden.push_back(value);
    if (place == Place::kMlpKey) out.keys.push_back(value[0][0].clone());
    return value;
  };
  (void)model.run(model.embed(out.ids), 0, layers, pass);
  return out;
}

/// Sum over rows of the product of the target tokens' probabilities.
at::Tensor total_probability(const Decoder& model, const at::Tensor& hidden,
                             const std::vector<TokenId>& target) {
  const at::Tensor log_p = at::log_softmax(model.head(hidden), -1);
  const at::Tensor ids =
      at::tensor(std::vector<std::int64_t>(target.begin(), target.end()), at::kLong)
          .to(log_p.device())
          .view({1, -1, 1})
          .expand({hidden.size(0), static_cast<std::int64_t>(target.size()), 1});
  return log_p.gather(2, ids).sum(1).exp().sum();
}

/// Attributions of the layers [first, behind), whose rows share one growing batch.
void attribute_chunk(const Decoder& model, const LocatePrompt& prompt, const Tail& tail,
                     std::int64_t first, std::int64_t behind, std::int64_t steps, at::Tensor& out) {
  c10::AutoGradMode gradient(true);
  std::optional<KvCache> prefix;
  if (tail.prefix)
    prefix = tail.prefix->select(
        std::vector<std::int64_t>(static_cast<std::size_t>(steps * (behind - first)), 0));
  const at::Tensor fractions = (at::arange(1, steps + 1, at::kFloat) / steps).unsqueeze(1);
  std::vector<at::Tensor> leaves;
  at::Tensor hidden;
  for (std::int64_t layer = first; layer < model.spec().layers; ++layer) {
    const bool enters = layer < behind;
    if (enters) {
      const at::Tensor own = tail.hidden[static_cast<std::size_t>(layer)].repeat({steps, 1, 1});
      hidden = hidden.defined() ? at::cat({hidden, own}) : own;
      const at::Tensor& key = tail.keys[static_cast<std::size_t>(layer)];
      leaves.push_back((fractions.to(key.options()) * key).set_requires_grad(true));
    }
    std::optional<KvCache> rows;
    if (prefix) rows = prefix->front(hidden.size(0));
    Pass pass;
    pass.cache = rows ? &*rows : nullptr;
    pass.hook = [&leaves, enters, steps](std::int64_t, Place place, const at::Tensor& value) {
      if (!enters || place != Place::kMlpKey) return value;
      const std::int64_t before = value.size(0) - steps;
      const at::Tensor scaled =
          at::cat({leaves.back().unsqueeze(1),
                   value.narrow(0, before, steps).narrow(1, 1, value.size(1) - 1)},
                  1);
      return before == 0 ? scaled : at::cat({value.narrow(0, 0, before), scaled});
    };
    hidden = model.run(hidden, layer, layer + 1, pass);
  }
  total_probability(model, hidden, prompt.target).backward();
  for (std::int64_t layer = first; layer < behind; ++layer) {
    const at::Tensor slope = leaves[static_cast<std::size_t>(layer - first)].grad().sum(0);
    out[layer] = (slope / static_cast<double>(steps) * tail.keys[static_cast<std::size_t>(layer)])
                     .to(at::kCPU, at::kDouble);
  }
}

}  // namespace

at::Tensor attribute_units(const Decoder& model, const LocatePrompt& prompt, std::int64_t steps,
                           std::int64_t chunk_bytes) {
  const DecoderSpec& spec = model.spec();
  const Tail tail = read_tail(model, prompt);
  const std::int64_t row = spec.layers * tail.ids.size(1) * (8 * spec.d_model + 4 * spec.mlp.d_ff);
  const std::int64_t chunk = std::max<std::int64_t>(1, chunk_bytes / (4 * steps * row));
  at::Tensor out = at::zeros({spec.layers, tail.keys.front().size(0)}, at::kDouble);
  for (std::int64_t first = 0; first < spec.layers; first += chunk) {
    check_interrupted();
    attribute_chunk(model, prompt, tail, first, std::min(spec.layers, first + chunk), steps, out);
  }
  return out;
}

std::vector<Neuron> refine_units(std::span<const at::Tensor> attributions, const Refinement& rule) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> found;
  at::Tensor mean = at::zeros_like(attributions.front());
  for (const at::Tensor& one : attributions) {
    mean += one / static_cast<double>(attributions.size());
    const double limit = rule.threshold * one.max().item<double>();
    if (limit <= 0) continue;  // nothing speaks for the target
    const at::Tensor cells = one.ge(limit).nonzero().contiguous();
    const auto* cell = cells.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < cells.size(0); ++i) ++found[{cell[2 * i], cell[2 * i + 1]}];
  }
  std::vector<Neuron> out;
  const double needed = rule.share * static_cast<double>(attributions.size());
  for (const auto& [place, prompts] : found) {
    if (static_cast<double>(prompts) < needed) continue;
    out.push_back(
        {place.first, place.second, mean[place.first][place.second].item<double>(), prompts});
  }
  std::ranges::stable_sort(out, std::greater{}, &Neuron::attribution);
  if (std::ssize(out) > rule.most) out.resize(static_cast<std::size_t>(rule.most));
  return out;
}

double probability_with(const Decoder& model, const LocatePrompt& prompt,
                        std::span<const Neuron> units, double factor) {
  const c10::AutoGradMode no_gradient(false);
  const std::int64_t at = prompt.answer_position();
  Pass pass;
  pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
    if (place != Place::kMlpKey) return value;
    at::Tensor out;
    for (const Neuron& unit : units) {
      if (unit.layer != layer) continue;
      if (!out.defined()) out = value.clone();
      out[0][at][unit.unit].mul_(factor);
    }
    return out.defined() ? out : value;
  };
  const at::Tensor hidden =
      model.run(model.embed(prompt.input().unsqueeze(0)), 0, model.spec().layers, pass);
  return target_probabilities(model, hidden, prompt.target)[0].item<double>();
}

std::vector<Neuron> random_units(const Decoder& model, std::span<const Neuron> units,
                                 std::uint64_t seed) {
  const auto d_ff = static_cast<std::uint32_t>(model.spec().mlp.d_ff);
  const Random random(seed, "locate random units");
  std::set<std::pair<std::int64_t, std::int64_t>> taken;
  for (const Neuron& unit : units) taken.insert({unit.layer, unit.unit});
  std::vector<Neuron> out;
  std::uint64_t next = 0;
  for (const Neuron& unit : units) {
    // A layer has room for as many others only when at most half of it is taken.
    for (int tries = 0; tries < 1000; ++tries) {
      const std::int64_t drawn = random.bits(next++) % d_ff;
      if (!taken.insert({unit.layer, drawn}).second) continue;
      out.push_back({unit.layer, drawn, 0, 0});
      break;
    }
  }
  return out;
}

}  // namespace lancet
