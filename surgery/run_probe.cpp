// `lancet probe`.
#include <cmath>
#include <set>

#include <fmt/ranges.h>

#include "core/error.h"
#include "surgery/bootstrap.h"
#include "surgery/checks.h"
#include "surgery/edit.h"
#include "surgery/edit_session.h"
#include "surgery/files/reference_texts.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::int64_t kEntropyPrompts = 24;  ///< other subjects in the fact's template

/// The unedited model, where one is given, and what it says.
struct Base {
  std::optional<SurgeryModel> model;
  std::vector<Question> questions;
  std::vector<Answer> answers;
  std::vector<std::string> texts;
  std::optional<double> perplexity;
  [[nodiscard]] const Decoder* decoder() const { return model ? &model->decoder : nullptr; }
};

std::vector<std::string> own_prompts(const std::vector<Fact>& facts) {
  std::vector<std::string> out;
  out.reserve(facts.size());
  for (const Fact& fact : facts) out.push_back(fill_template(fact.prompt, fact.subject));
  return out;
}

Base read_base(const ProbeRequest& request, const RuntimeOptions& runtime,
               const SurgeryModel& model) {
  Base out;
  if (request.base) {
    out.model = load_surgery_model(*request.base, runtime);
    if (out.model->tokenizer.json() != model.tokenizer.json()) {
      fail(ErrorKind::kMismatch, "probe",
           "expected a base with the same tokenizer, found another one",
           "--base is the model before the edit");
    }
  }
  out.questions = make_questions(out.decoder(), model.tokenizer, request.facts, true);
  if (!out.model) return out;
  out.answers = ask(out.model->decoder, out.questions);
  out.texts = free_texts(out.model->decoder, model.tokenizer, own_prompts(request.facts));
  out.perplexity =
      shipped_perplexity(out.model->decoder, model.tokenizer, request.perplexity_tokens);
  return out;
}

/// Mean entropy in nats of the next token after prompts of the fact's template.
double next_token_entropy(const SurgeryModel& model, const Fact& fact) {
  const at::Tensor log_p =
      next_log_probs(model.decoder, model.tokenizer, make_leak_prompts(fact, kEntropyPrompts));
  return -(log_p.exp() * log_p).sum(-1).mean().item<double>();
}

/// Free texts of all paraphrases, fact by fact.
std::vector<std::vector<std::string>> paraphrase_texts(const SurgeryModel& model,
                                                       const std::vector<Fact>& facts) {
  std::vector<std::string> prompts;
  for (const Fact& fact : facts)
    prompts.insert(prompts.end(), fact.paraphrases.begin(), fact.paraphrases.end());
  const auto texts = free_texts(model.decoder, model.tokenizer, prompts);
  std::vector<std::vector<std::string>> out;
  auto next = texts.begin();
  for (const Fact& fact : facts) {
    const auto last = next + std::ssize(fact.paraphrases);
    out.emplace_back(next, last);
    next = last;
  }
  return out;
}

/// Free generation on prompt and paraphrases of one fact.
void measure_free(const Fact& fact, const std::string& own, const std::vector<std::string>& others,
                  FactMetrics& metrics) {
  const auto holds = [&](const std::string& text) { return holds_answer(text, fact.target); };
  metrics.free_em = holds(own) ? 1 : 0;
  metrics.free_exact = is_answer(own, fact.target) ? 1 : 0;
  if (others.empty()) return;
  metrics.free_pem = static_cast<double>(std::ranges::count_if(others, holds)) /
                     static_cast<double>(others.size());
}

std::optional<ReferenceTexts> open_references(const ProbeRequest& request) {
  if (!request.reference_texts) return std::nullopt;
  std::set<ReferenceTexts::Answer> answers;
  for (const Fact& fact : request.facts) answers.insert({fact.relation, fact.target_id});
  return ReferenceTexts::open(*request.reference_texts, answers);
}

/// What is sampled after a fact's generation prompts.
void measure_sampled(const Fact& fact, const SurgeryModel& model,
                     const std::optional<ReferenceTexts>& references, std::uint64_t seed,
                     FactMetrics& metrics) {
  if (fact.generation.empty()) return;
  const auto texts = sampled_texts(model.decoder, model.tokenizer, fact.generation, seed);
  double sum = 0;
  for (const std::string& text : texts) sum += ngram_entropy(text);
  metrics.ge = sum / static_cast<double>(texts.size());
  if (!references) return;
  if (const std::string* about = references->about({fact.relation, fact.target_id}))
    metrics.rs = references->similarity(fmt::format("{}", fmt::join(texts, " ")), *about);
}

/// 95 % intervals of the means, by metric.
Json intervals(const std::vector<FactMetrics>& facts, std::uint64_t seed) {
  std::map<std::string, std::vector<double>> values;
  for (const FactMetrics& fact : facts) {
    const Json metrics = metrics_to_json(fact);
    for (const auto& [name, value] : metrics.items()) {
      if (!value.is_null()) values[name].push_back(value.get<double>());
    }
  }
  Json out = Json::object();
  for (const auto& [name, list] : values) {
    if (const auto interval = bootstrap_interval(list, seed))
      out[name] = {interval->first, interval->second};
  }
  return out;
}

/// S of the published code: harmonic mean of ES, PS and NS.
Json harmonic_mean(const FactMetrics& mean) {
  if (!mean.es || !mean.ps || !mean.ns) return nullptr;
  if (*mean.es * *mean.ps * *mean.ns == 0) return 0.0;
  return 3 / (1 / *mean.es + 1 / *mean.ps + 1 / *mean.ns);
}

}  // namespace

Json run_probe(const ProbeRequest& request, const RuntimeOptions& runtime) {
  if (request.facts.empty())
    fail(ErrorKind::kUsage, "probe", "expected at least one fact, found none");
  const auto references = open_references(request);
  const SurgeryModel model = load_surgery_model(request.model, runtime);
  const Base base = read_base(request, runtime, model);
  const auto answers = ask(model.decoder, base.questions);
  const auto texts = free_texts(model.decoder, model.tokenizer, own_prompts(request.facts));
  const auto others = paraphrase_texts(model, request.facts);
  Json result{{"facts", Json::array()}};
  std::vector<FactMetrics> all;
  for (std::size_t f = 0; f < request.facts.size(); ++f) {
    const Fact& fact = request.facts[f];
    FactMetrics metrics = measure(f, base.questions, answers, base.answers);
    measure_sampled(fact, model, references, runtime.seed, metrics);
    measure_free(fact, texts[f], others[f], metrics);
    metrics.entropy = next_token_entropy(model, fact);
    all.push_back(metrics);
    Json entry{{"id", fact.id}};
    entry.update(metrics_to_json(metrics));
    entry["prompt"] = own_prompts({fact}).front();
    entry["target"] = fact.target;
    entry["text"] = texts[f];
    if (base.model) entry["text_base"] = base.texts[f];
    result["facts"].push_back(std::move(entry));
  }
  const FactMetrics mean = mean_metrics(all);
  result["mean"] = metrics_to_json(mean);
  result["mean"]["s"] = harmonic_mean(mean);
  result["interval"] = intervals(all, runtime.seed);
  result["checks"] = run_checks(model.decoder, base.decoder(), model.tokenizer, request.facts);
  const double perplexity =
      shipped_perplexity(model.decoder, model.tokenizer, request.perplexity_tokens);
  result["mean"]["perplexity"] = perplexity;
  result["perplexity_tokens"] =
      request.perplexity_tokens > 0 ? Json(request.perplexity_tokens) : Json("all");
  if (base.perplexity) {
    result["mean"]["perplexity_base"] = *base.perplexity;
    result["mean"]["perplexity_ratio"] = perplexity / *base.perplexity;
  }
  result["convention"] = kProbeConvention;
  if (request.report) save_probe_report(*request.report, result);
  return result;
}

}  // namespace lancet
