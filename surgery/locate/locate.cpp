#include "surgery/locate/locate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "model/runtime.h"
#include "surgery/layers.h"
#include "surgery/locate/trace.h"
#include "surgery/locate/verbs.h"

namespace lancet {
namespace {

/// What a verb needs of every layer: tokens that can be taken back, one MLP.
enum class Needs { kNothing, kAttention, kMlp };
struct Verb {
  std::string_view name;
  LocateVerb* run;
  Needs needs;
};
constexpr Verb kVerbs[] = {{"trace", locate_trace, Needs::kAttention},
                           {"patch", locate_patch, Needs::kAttention},
                           {"lens", locate_lens, Needs::kNothing},
                           {"sweep", locate_sweep, Needs::kNothing},
                           {"neurons", locate_neurons, Needs::kMlp}};

void check_layers(const Verb& verb, const DecoderSpec& spec) {
  if (verb.needs == Needs::kNothing) return;
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    const LayerSpec& each = spec.layer[static_cast<std::size_t>(layer)];
    if (verb.needs == Needs::kAttention && each.ssm) {
      fail(ErrorKind::kMismatch, "locate",
           fmt::format("{}: expected attention in every layer, found a state space in layer {} "
                       "(model_type {})",
                       verb.name, layer, spec.model_type),
           "lens runs on any model");
    }
    if (verb.needs != Needs::kMlp) continue;
    require_mlp(spec, {layer}, "locate");
    if (each.moe) {
      fail(ErrorKind::kMismatch, "locate",
           fmt::format("{}: expected one MLP in every layer, found {} experts in layer {}",
                       verb.name, spec.moe.experts, layer));
    }
  }
}

/// "{}" without a subject would be read as it stands.
void check_slots(const Fact& fact) {
  if (!fact.subject.empty()) return;
  std::vector<std::string> prompts = fact.paraphrases;
  prompts.push_back(fact.prompt);
  for (const std::string& prompt : prompts) {
    if (prompt.find("{}") == std::string::npos) continue;
    fail(ErrorKind::kUsage, "locate",
         fmt::format("expected a subject for the '{{}}' of '{}', found none", printable(prompt)),
         "give --subject");
  }
}

const Verb& find_verb(const std::string& name) {
  std::vector<std::string_view> known;
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return verb;
    known.push_back(verb.name);
  }
  fail(ErrorKind::kUsage, "locate",
       fmt::format("expected {}, found '{}'", fmt::join(known, ", "), printable(name)),
       did_you_mean(name, known));
}

}  // namespace

Json run_locate(const LocateRequest& request, const RuntimeOptions& runtime) {
  const Verb& verb = find_verb(request.what);
  for (const std::string& kind : request.kinds) (void)trace_kind(kind);
  if (request.facts.empty())
    fail(ErrorKind::kUsage, "locate", "expected at least one fact, found none");
  for (const Fact& fact : request.facts) check_slots(fact);
  LapTimer watch;
  const SurgeryModel model = load_surgery_model(request.model, runtime);
  check_layers(verb, model.decoder.spec());
  watch.lap("load");
  const FreedMemoryKept kept;
  Located found = verb.run(model, request, runtime);
  watch.lap(request.what);
  Json result{{"what", request.what}, {"layers", model.decoder.spec().layers}};
  result.update(found.json);
  result["seed"] = runtime.seed;
  result["seconds"] = watch.total();
  result["timings"] = watch.laps();
  if (request.npz) found.arrays.save(*request.npz);
  if (request.report) save_locate_report(*request.report, result);
  return result;
}

}  // namespace lancet
