// `lancet locate sweep`: a quick edit at each layer, as `edit --layers auto` tries its candidates.
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "surgery/contexts.h"
#include "surgery/editor.h"
#include "surgery/locate/corrupted.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

std::vector<std::int64_t> wanted_layers(const std::string& wish, std::int64_t layers) {
  if (wish == "auto") return sweep_candidates(layers);
  return parse_layers(wish == "all" ? fmt::format("0-{}", layers - 1) : wish, layers, "locate");
}

/// The facts that an edit can write; of a file, the others go to `skipped`.
std::vector<Fact> usable_facts(const Tokenizer& tokenizer, const LocateRequest& request,
                               Json& skipped) {
  std::vector<Fact> out;
  for (const Fact& fact : request.facts) {
    try {
      (void)fact_rows(tokenizer, fact, contexts_like_sampled());
      out.push_back(fact);
    } catch (const Error& error) {
      if (!request.batch || error.kind() != ErrorKind::kUsage) throw;
      skipped.push_back({{"id", fact.id}, {"reason", error.message()}});
    }
  }
  if (out.empty())
    fail(ErrorKind::kInput, "locate", "sweep: expected a fact that can be written, found none");
  return out;
}

}  // namespace

Located locate_sweep(const SurgeryModel& model, const LocateRequest& request,
                     const RuntimeOptions& runtime) {
  const Editor& editor = trial_editor(find_editor(request.method));
  if (editor.name != request.method)
    log::warn(fmt::format("{} has no quick edit: the layers are tried with {}", request.method,
                          editor.name));
  const auto layers = wanted_layers(request.layers, model.decoder.spec().layers);
  require_mlp(model.decoder.spec(), layers, "locate");
  Located out;
  Json skipped = Json::array();
  const std::vector<Fact> facts = usable_facts(model.tokenizer, request, skipped);
  if (request.batch) out.json["skipped"] = std::move(skipped);
  const auto count = static_cast<double>(facts.size());
  Progress progress("sweep", layers.size() * facts.size(), Progress::Unit::kItems);
  out.json["trials"] = Json::array();
  std::vector<LayerTrial> trials;
  for (const std::int64_t layer : layers) {
    double works = 0, probability = 0, drift = 0;
    for (const Fact& fact : facts) {
      check_interrupted();
      const LayerTrial trial = try_layer(model, editor, fact, layer, runtime.seed);
      works += trial.works;
      probability += trial.probability;
      drift += trial.drift;
      progress.advance(1);
    }
    trials.push_back({works / count, drift / count, probability / count});
    const LayerTrial& mean = trials.back();
    out.json["trials"].push_back({{"layer", layer},
                                  {"works", mean.works},
                                  {"p_target", mean.probability},
                                  {"drift", mean.drift}});
  }
  progress.finish();
  const std::size_t best = best_trial(trials);
  out.json["method"] = editor.name;
  out.json["facts"] = facts.size();
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
