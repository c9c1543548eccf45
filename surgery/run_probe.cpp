#include <fmt/format.h>

#include "core/error.h"
#include "surgery/edit.h"
#include "surgery/edit_session.h"

namespace lancet {
namespace {

/// Perplexities and answers of the unedited model, where one is given.
struct Baseline {
  std::vector<Question> questions;
  std::vector<Answer> answers;
  std::optional<double> perplexity;
};

Baseline read_baseline(const ProbeRequest& request, const RuntimeOptions& runtime,
                       const SurgeryModel& model) {
  if (!request.base) return {make_questions(nullptr, model.tokenizer, request.facts), {}, {}};
  const SurgeryModel base = load_surgery_model(*request.base, runtime);
  if (base.tokenizer.json() != model.tokenizer.json()) {
    fail(ErrorKind::kMismatch, "probe",
         "expected a base with the same tokenizer, found another one",
         "--base is the model before the edit");
  }
  Baseline out{make_questions(&base.decoder, base.tokenizer, request.facts), {}, {}};
  out.answers = ask(base.decoder, out.questions);
  out.perplexity = shipped_perplexity(base.decoder, base.tokenizer, 0);
  return out;
}

}  // namespace

Json run_probe(const ProbeRequest& request, const RuntimeOptions& runtime) {
  if (request.facts.empty())
    fail(ErrorKind::kUsage, "probe", "expected at least one fact, found none");
  const SurgeryModel model = load_surgery_model(request.model, runtime);
  const Baseline base = read_baseline(request, runtime, model);
  const auto answers = ask(model.decoder, base.questions);
  Json result{{"facts", Json::array()}};
  std::vector<FactMetrics> all;
  for (std::size_t f = 0; f < request.facts.size(); ++f) {
    const Fact& fact = request.facts[f];
    FactMetrics metrics = measure(f, base.questions, answers, base.answers);
    if (!fact.generation.empty())
      metrics.ge = fluency(model.decoder, model.tokenizer, fact.generation, runtime.seed);
    all.push_back(metrics);
    Json entry{{"id", fact.id}};
    entry.update(metrics_to_json(metrics));
    entry["rs"] = nullptr;  // needs reference texts about subjects with the new answer
    result["facts"].push_back(std::move(entry));
  }
  result["mean"] = metrics_to_json(mean_metrics(all));
  result["mean"]["rs"] = nullptr;
  const double perplexity = shipped_perplexity(model.decoder, model.tokenizer, 0);
  result["mean"]["perplexity"] = perplexity;
  if (base.perplexity) {
    result["mean"]["perplexity_base"] = *base.perplexity;
    result["mean"]["perplexity_ratio"] = perplexity / *base.perplexity;
  }
  result["convention"] = kProbeConvention;
  if (request.report) save_probe_report(*request.report, result);
  return result;
}

}  // namespace lancet
