// `lancet locate neurons`.
#include "core/error.h"
#include "core/progress.h"
#include "surgery/locate/corrupted.h"
#include "surgery/locate/neurons.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

/// The prompt and its paraphrases, all with the same target.
std::vector<LocatePrompt> same_fact(const SurgeryModel& model, const Fact& fact) {
  LocatePrompt first = read_prompt(model.tokenizer, fact, false);
  answer_by_model(model.decoder, model.tokenizer, first);
  std::vector<LocatePrompt> out{first};
  for (const std::string& text : fact.paraphrases) {
    Fact other{.id = fact.id, .prompt = fill_template(text, fact.subject), .target = fact.target};
    out.push_back(read_prompt(model.tokenizer, other, false));
    if (out.back().target.empty()) {
      out.back().target = first.target;
      out.back().target_text = first.target_text;
    }
  }
  return out;
}

Json checked(const SurgeryModel& model, const LocatePrompt& prompt,
             const std::vector<Neuron>& units, const std::vector<Neuron>& others) {
  const auto p = [&](const std::vector<Neuron>& which, double factor) {
    return probability_with(model.decoder, prompt, which, factor);
  };
  return {{"prompt", prompt.text},
          {"p", p({}, 1)},
          {"suppressed", p(units, 0)},
          {"amplified", p(units, 2)},
          {"random_suppressed", p(others, 0)},
          {"random_amplified", p(others, 2)}};
}

Located one_fact(const SurgeryModel& model, const LocateRequest& request, const Fact& fact,
                 std::uint64_t seed) {
  const auto prompts = same_fact(model, fact);
  std::vector<at::Tensor> attributions;
  attributions.reserve(prompts.size());
  for (const LocatePrompt& prompt : prompts)
    attributions.push_back(attribute_units(model.decoder, prompt, request.integration_steps));
  const auto units = refine_units(attributions, {request.threshold, request.share, request.most});
  const auto others = random_units(model.decoder, units, seed);
  Located out;
  out.json = prompt_json(prompts.front());
  out.json["kind"] = "neurons";
  out.json["units"] = Json::array();
  for (const Neuron& unit : units)
    out.json["units"].push_back({{"layer", unit.layer},
                                 {"unit", unit.unit},
                                 {"attribution", unit.attribution},
                                 {"prompts", unit.prompts}});
  out.json["prompts"] = Json::array();
  for (const LocatePrompt& prompt : prompts)
    out.json["prompts"].push_back(checked(model, prompt, units, others));
  at::Tensor mean = at::stack(attributions).mean(0);
  out.json["by_layer"] = vector_json(mean.clamp_min(0).sum(1));
  out.arrays.add("attribution", mean);
  return out;
}

}  // namespace

Located locate_neurons(const SurgeryModel& model, const LocateRequest& request,
                       const RuntimeOptions& runtime) {
  Located out;
  if (!request.batch) {
    out = one_fact(model, request, request.facts.front(), runtime.seed);
  } else {
    out.json["facts"] = Json::array();
    out.json["skipped"] = Json::array();
    Progress progress("neurons", request.facts.size(), Progress::Unit::kItems);
    for (const Fact& fact : request.facts) {
      try {
        Located one = one_fact(model, request, fact, runtime.seed);
        out.json["facts"].push_back(std::move(one.json));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUsage) throw;
        out.json["skipped"].push_back({{"id", fact.id}, {"reason", error.message()}});
      }
      progress.advance(1);
    }
    progress.finish();
  }
  out.json["steps"] = request.integration_steps;
  out.json["threshold"] = request.threshold;
  out.json["share"] = request.share;
  return out;
}

}  // namespace lancet
