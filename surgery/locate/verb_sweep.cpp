// `lancet locate sweep`: a quick edit at each layer, as `edit --layers auto` tries its candidates.
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "surgery/editor.h"
#include "surgery/files/facts.h"
#include "surgery/locate/corrupted.h"

namespace lancet {
namespace {

std::vector<std::int64_t> wanted_layers(const std::string& wish, std::int64_t layers) {
  if (wish == "auto") return sweep_candidates(layers);
  return parse_layers(wish == "all" ? fmt::format("0-{}", layers - 1) : wish, layers, "locate");
}

}  // namespace

Located locate_sweep(const SurgeryModel& model, const LocateRequest& request,
                     const RuntimeOptions& runtime) {
  const Editor& editor = find_editor(request.method);
  for (const Fact& fact : request.facts) check_fact(fact);
  const auto layers = wanted_layers(request.layers, model.decoder.spec().layers);
  const auto count = static_cast<double>(request.facts.size());
  Progress progress("sweep", layers.size() * request.facts.size(), Progress::Unit::kItems);
  Located out;
  out.json["trials"] = Json::array();
  std::vector<LayerTrial> trials;
  for (const std::int64_t layer : layers) {
    double works = 0, probability = 0, drift = 0;
    for (const Fact& fact : request.facts) {
      check_interrupted();
      const LayerTrial trial = try_layer(model, editor, fact, layer, runtime.seed);
      works += trial.works ? 1 / count : 0;
      probability += trial.probability / count;
      drift += trial.drift / count;
      progress.advance(1);
    }
    trials.push_back({works == 1, drift, probability});
    out.json["trials"].push_back(
        {{"layer", layer}, {"works", works}, {"p_target", probability}, {"drift", drift}});
  }
  progress.finish();
  const std::size_t best = best_trial(trials);
  out.json["method"] = request.method;
  out.json["facts"] = request.facts.size();
  out.json["best"] = layers[best];
  std::vector<double> p, d;
  for (const LayerTrial& trial : trials) {
    p.push_back(trial.probability);
    d.push_back(trial.drift);
  }
  out.arrays.add("layers", at::tensor(layers, at::kLong));
  out.arrays.add("p_target", at::tensor(p, at::kDouble));
  out.arrays.add("drift", at::tensor(d, at::kDouble));
  return out;
}

}  // namespace lancet
