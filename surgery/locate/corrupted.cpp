#include "surgery/locate/corrupted.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "surgery/locate/average.h"

namespace lancet {
namespace {

/// Everything of one fact that the averages need.
struct Answered {
  LocatePrompt prompt;
  std::vector<NamedMap> maps;
};

/// The layers by what restoring at the subject's last token brings, best first.
Json ranking_json(const LocatePrompt& prompt, const at::Tensor& effect) {
  const at::Tensor own = effect[prompt.subject_last];
  const at::Tensor order = own.argsort(true, 0, true);
  Json out = Json::array();
  for (std::int64_t i = 0; i < order.numel(); ++i) {
    const auto layer = order[i].item<std::int64_t>();
    out.push_back({{"layer", layer}, {"effect", own[layer].item<double>()}});
  }
  return out;
}

Json best_json(const LocatePrompt& prompt, const at::Tensor& effect) {
  const std::int64_t cell = effect.argmax().item<std::int64_t>();
  const std::int64_t token = cell / effect.size(1), layer = cell % effect.size(1);
  return {{"token", token},
          {"text", prompt.tokens[static_cast<std::size_t>(token)]},
          {"layer", layer},
          {"effect", effect[token][layer].item<double>()}};
}

Json fact_json(const Answered& fact, const Runs& runs) {
  Json out = prompt_json(fact.prompt);
  const NamedMap& first = fact.maps.front();
  out["low"] = runs.low;
  out["high"] = runs.high;
  out["says_target"] = runs.says_target;
  out["kind"] = first.kind;
  out["scores"] = matrix_json(first.scores);
  out["best"] = best_json(fact.prompt, first.effect);
  out["ranking"] = ranking_json(fact.prompt, first.effect);
  out["maps"] = Json::array();
  for (const NamedMap& map : fact.maps) {
    Json one{{"kind", map.kind}, {"window", map.window}, {"scores", matrix_json(map.scores)}};
    one["best"] = best_json(fact.prompt, map.effect);
    if (!map.notes.is_null()) one.update(map.notes);
    out["maps"].push_back(std::move(one));
  }
  return out;
}

/// The names of the published code's .npz, with the other kinds beside `scores`.
void add_arrays(Arrays& arrays, const std::string& prefix, const Answered& fact, const Runs& runs) {
  const LocatePrompt& prompt = fact.prompt;
  const auto add = [&](const char* name, const auto& value) { arrays.add(prefix + name, value); };
  add("scores", fact.maps.front().scores);
  for (const NamedMap& map : fact.maps) arrays.add(prefix + "scores_" + map.kind, map.scores);
  add("low_score", runs.low);
  add("high_score", runs.high);
  add("input_ids", at::tensor(std::vector<std::int64_t>(prompt.ids.begin(), prompt.ids.end())));
  add("input_tokens", prompt.tokens);
  add("subject_range", at::tensor({prompt.subject_first, prompt.subject_last + 1}, at::kLong));
  add("answer", prompt.target_text);
  add("window", fact.maps.front().window);
  add("correct_prediction", at::scalar_tensor(runs.says_target, at::kBool));
  add("kind", fact.maps.front().kind);
}

Json role_json(const RoleAverage& role) {
  return {{"role", kRoleNames[static_cast<std::size_t>(role.role)]},
          {"facts", role.facts},
          {"effect", vector_json(role.mean)},
          {"margin", vector_json(role.margin)}};
}

Json averages_json(const std::vector<Answered>& facts) {
  std::vector<LocatePrompt> prompts;
  prompts.reserve(facts.size());
  for (const Answered& fact : facts) prompts.push_back(fact.prompt);
  Json out = Json::array();
  for (std::size_t m = 0; m < facts.front().maps.size(); ++m) {
    std::vector<at::Tensor> effects;
    effects.reserve(facts.size());
    for (const Answered& fact : facts) effects.push_back(fact.maps[m].effect);
    Json roles = Json::array();
    for (const RoleAverage& role : average_roles(prompts, effects))
      roles.push_back(role_json(role));
    const NamedMap& map = facts.front().maps[m];
    out.push_back({{"kind", map.kind}, {"window", map.window}, {"roles", std::move(roles)}});
  }
  return out;
}

double measured_sigma(const SurgeryModel& model, const LocateRequest& request) {
  if (request.sigma > 0) return request.sigma;
  if (!request.batch) return subject_sigma(model.decoder, model.tokenizer, shipped_subjects());
  std::vector<std::string> subjects;
  for (const Fact& fact : request.facts) subjects.push_back(fact.subject);
  return subject_sigma(model.decoder, model.tokenizer, subjects);
}

}  // namespace

Json vector_json(const at::Tensor& vector) {
  Json out = Json::array();
  for (std::int64_t i = 0; i < vector.size(0); ++i) {
    if (!at::isFloatingType(vector.scalar_type())) {
      out.push_back(vector[i].item<std::int64_t>());
    } else {
      const double value = vector[i].item<double>();
      out.push_back(std::isfinite(value) ? Json(value) : Json());
    }
  }
  return out;
}

Json matrix_json(const at::Tensor& matrix) {
  Json out = Json::array();
  for (std::int64_t i = 0; i < matrix.size(0); ++i) out.push_back(vector_json(matrix[i]));
  return out;
}

Located locate_corrupted(const SurgeryModel& model, const LocateRequest& request,
                         const RuntimeOptions& runtime, const MapFact& map) {
  const double sigma = measured_sigma(model, request);
  Located out;
  out.json = {{"samples", request.samples}, {"noise", request.noise}, {"sigma", sigma}};
  std::set<std::string> ids;
  std::vector<Answered> answered;
  Json facts = Json::array(), skipped = Json::array();
  for (const Fact& fact : request.facts) {
    check_interrupted();
    if (!ids.insert(fact.id).second)
      fail(ErrorKind::kUsage, "locate", "two facts have the id '" + printable(fact.id) + "'",
           "give each record its own id");
    try {
      Answered now{read_prompt(model.tokenizer, fact, true), {}};
      answer_by_model(model.decoder, model.tokenizer, now.prompt);
      const Runs runs = run_both(model.decoder, now.prompt,
                                 corrupted_embeddings(model.decoder, now.prompt, request.samples,
                                                      request.noise * sigma, runtime.seed));
      if (request.batch && !runs.says_target && !request.all_facts) {
        skipped.push_back({{"id", fact.id}, {"reason", "the model does not say the answer"}});
        continue;
      }
      FactMaps maps = map(now.prompt, runs);
      now.maps = std::move(maps.maps);
      add_arrays(out.arrays, request.batch ? fact.id + "." : "", now, runs);
      facts.push_back(fact_json(now, runs));
      if (!maps.notes.is_null()) facts.back().update(maps.notes);
      answered.push_back(std::move(now));
    } catch (const Error& error) {
      if (!request.batch || error.kind() != ErrorKind::kUsage) throw;
      skipped.push_back({{"id", fact.id}, {"reason", error.message()}});
    }
  }
  if (!request.batch) {
    out.json.update(facts.front());
    return out;
  }
  if (answered.empty())
    fail(ErrorKind::kInput, "locate", "expected a fact that the model knows, found none",
         "--all-facts keeps facts whose answer the model does not give");
  out.json["averages"] = averages_json(answered);
  out.json["facts"] = std::move(facts);
  out.json["skipped"] = std::move(skipped);
  return out;
}

}  // namespace lancet
