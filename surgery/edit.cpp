#include "surgery/edit.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "formats/model_writer.h"
#include "surgery/baseline.h"
#include "surgery/down.h"
#include "surgery/edit_checks.h"
#include "surgery/edit_journal.h"
#include "surgery/edit_session.h"
#include "surgery/files/lora.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::int64_t kTextTokens = 8;     ///< of the greedy text that is shown
constexpr std::int64_t kGuardTokens = 256;  ///< of the perplexity text that the guard reads

struct Side {
  std::vector<Answer> answers;
  std::vector<std::string> texts;  ///< greedy, one a fact
  double perplexity = 0;
};

Side probe_side(const Decoder& decoder, const SurgeryModel& model, const std::vector<Fact>& facts,
                const std::vector<Question>& questions, double perplexity) {
  Side side;
  side.answers = ask(decoder, questions);
  std::vector<std::string> prompts;
  prompts.reserve(facts.size());
  for (const Fact& fact : facts) prompts.push_back(fill_template(fact.prompt, fact.subject));
  side.texts = greedy_texts(decoder, model.tokenizer, prompts, kTextTokens);
  side.perplexity = perplexity;
  return side;
}

/// The answer to the fact's own prompt, which is the first of its questions.
const Answer& own_answer(std::size_t fact, const std::vector<Question>& questions,
                         const std::vector<Answer>& answers) {
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].fact == fact && questions[i].kind == ProbeKind::kPrompt) return answers[i];
  }
  fail(ErrorKind::kInternal, "edit", "a fact has no question");
}

Json side_json(const Answer& answer, const std::string& text) {
  return {{"text", text},
          {"p_target", std::exp(-answer.nll_target)},
          {"p_true", answer.nll_other ? Json(std::exp(-*answer.nll_other)) : Json()},
          {"rank_target", answer.rank_target}};
}

Json share_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

/// rel_norm per layer of one edit's own columns; of a joint stage, of all of them.
Json edit_norms(const EditedModel& edited, const std::string& id) {
  Json out = Json::object();
  const Ledger& ledger = edited.delta.ledger;
  for (const auto& [name, range] : ledger.find_edit(id)->columns) {
    const double whole = edited.relative_norm.at(name), total = edited.delta_norm.at(name);
    const double own =
        ledger.stages.front().joint || total == 0
            ? whole
            : whole * delta_norm(*edited.delta.find(name), range.first, range.second) / total;
    const std::string layer = std::to_string(ledger.find_tensor(name)->layer);
    out[layer] = std::max(out.value(layer, 0.0), own);  // of several experts, the largest
  }
  return out;
}

struct Proof {
  Json edits = Json::array();
  std::vector<std::string> failed;  ///< ids
  std::vector<FactMetrics> metrics;
};

Proof prove(const EditRequest& request, const EditedModel& edited,
            const std::vector<Question>& questions, const Side& before, const Side& after) {
  Proof proof;
  for (std::size_t f = 0; f < request.facts.size(); ++f) {
    const Fact& fact = request.facts[f];
    const FactMetrics metrics = measure(f, questions, after.answers, before.answers);
    const Answer& own = own_answer(f, questions, after.answers);
    const bool ok = own.says_target && metrics.es.value_or(1) == 1;
    if (!ok) proof.failed.push_back(fact.id);
    proof.edits.push_back(
        {{"id", edited.ids[f]},
         {"ok", ok},
         {"subject", fact.subject},
         {"prompt", fact.prompt},
         {"target", fact.target},
         {"before", side_json(own_answer(f, questions, before.answers), before.texts[f])},
         {"after", side_json(own, after.texts[f])},
         {"paraphrase", share_json(metrics.ps)},
         {"paraphrase_text", share_json(metrics.pem)},
         {"neighborhood", share_json(metrics.ns)},
         {"neighborhood_text", share_json(metrics.na)},
         {"leak", share_json(metrics.leak)},
         {"leak_unrelated", share_json(metrics.leak_unrelated)},
         {"rel_norm", edit_norms(edited, fact.id)}});
    proof.metrics.push_back(metrics);
  }
  return proof;
}

GuardVerdict guard(const EditRequest& request, const EditPlan& plan, const EditedModel& edited,
                   const Side& before, const Side& after, const Proof& proof) {
  GuardValues values;
  values.leak_rate = mean_metrics(proof.metrics).leak;
  values.perplexity_before = before.perplexity;
  values.perplexity_after = after.perplexity;
  for (const auto& [name, norm] : edited.relative_norm)
    values.relative_norm = std::max(values.relative_norm, norm);
  values.spectral_ratio = edited.spectral_ratio;
  for (const Json& fact : plan.notes.value("facts", Json::array())) {
    if (!fact.contains("denominator")) continue;
    values.denominator =
        std::min(values.denominator.value_or(1), fact["denominator"].get<double>());
  }
  GuardLimits limits;
  limits.leak = request.max_leak;
  limits.perplexity_ratio = request.max_perplexity_ratio;
  return judge(values, limits);
}

/// Metrics of the proof go into the ledger before it is written.
void note_metrics(Delta& delta, const std::vector<std::string>& ids, const Json& edits) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (EditRecord& record : delta.ledger.edits) {
      if (record.id != ids[i]) continue;
      record.metrics = edits[i];
      for (const char* key : {"id", "subject", "prompt", "target"}) record.metrics.erase(key);
    }
  }
}

Json written(const fs::path& path) {
  return {{"path", path.string()}, {"bytes", fs::file_size(path)}, {"sha256", sha256_file(path)}};
}

/// Models of lancet.json.
Json inputs_of(const EditRequest& request) { return Json::array({input_model(request.model)}); }

struct Planned {
  EditPlan plan;
  StageRecord stage;
  std::optional<Json> stopped;           ///< why --stop-at ended the plan early
  Json inputs;                           ///< of lancet.json, where they were asked for already
  std::unique_ptr<EditJournal> journal;  ///< of an edit of several turns
};

/// The delta with a change of zero for the experts that no subject is routed to: libraries that
/// keep the experts of a layer in one tensor load an adapter that has all of them.
Delta with_all_experts(Delta delta, const Decoder& model) {
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const LedgerTensor info = delta.ledger.tensors[i];
    const std::int64_t rank = delta.tensors[i].rank;
    if (key_place(model, info.layer) != Place::kExpertInput) continue;
    for (const DownPart& part : down_parts(model, info.layer)) {
      if (delta.find(part.matrix.name)) continue;
      const auto r = static_cast<std::size_t>(rank);
      delta.tensors.push_back({part.matrix.name, rank,
                               std::vector<float>(static_cast<std::size_t>(info.d_out) * r),
                               std::vector<float>(static_cast<std::size_t>(info.d_in) * r)});
      delta.ledger.tensors.push_back(info);
      delta.ledger.tensors.back().name = part.matrix.name;
    }
  }
  return delta;
}

/// OUT first: what else was asked for may lie in it.
Json write_outputs(const EditRequest& request, const RuntimeOptions& runtime,
                   const SurgeryModel& model, const Planned& planned, EditedModel& edited,
                   const Json& result) {
  const bool force = request.force || (planned.journal && planned.journal->goes_on_writing());
  if (planned.journal) planned.journal->begin_writing();
  Json outputs = Json::array();
  std::vector<std::string> own_ids;
  for (const Fact& fact : request.facts) own_ids.push_back(fact.id);
  note_metrics(edited.delta, own_ids, result["edits"]);
  note_metrics(edited.stack.delta, edited.ids, result["edits"]);
  Json manifest{{"command", request.command},
                {"seed", runtime.seed},
                {"method", result["method"]},
                {"layers", result["layers"]},
                {"parameters", result["parameters"]},
                {"inputs", planned.inputs.is_null() ? inputs_of(request) : planned.inputs}};
  if (!request.requests.empty()) manifest["inputs"].push_back(input_file(request.requests));
  if (request.out) {
    std::vector<ChangedTensor> changed;
    for (auto& [name, tensor] : edited.stack.changed) changed.push_back(std::move(tensor));
    ApplyOptions options;
    options.force = force;
    for (const WrittenFile& file :
         write_edited(model.source, *request.out, changed, edited.stack.delta, options, manifest)) {
      outputs.push_back(
          {{"path", file.path.string()}, {"bytes", file.bytes}, {"sha256", file.sha256}});
    }
  }
  if (request.delta) {
    save_delta(*request.delta, edited.delta);
    outputs.push_back(written(*request.delta));
    write_manifest(request.delta->string() + ".lancet.json", manifest,
                   {{*request.delta, outputs.back()["bytes"].get<std::uint64_t>(),
                     outputs.back()["sha256"].get<std::string>()}});
  }
  if (request.lora) {
    save_lora(*request.lora, with_all_experts(edited.delta, model.decoder), request.model.string(),
              force, manifest);
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(*request.lora)) files.push_back(entry.path());
    std::ranges::sort(files);
    for (const fs::path& file : files) outputs.push_back(written(file));
  }
  return outputs;
}

/// Second moments, then the editor; the matrices are let go before the model is asked.
Planned plan_facts(const EditRequest& request, const Editor& editor, const Parameters& parameters,
                   const RuntimeOptions& runtime, const SurgeryModel& model,
                   const std::vector<std::int64_t>& layers, Baseline& baseline, LapTimer& watch) {
  CovarianceSource covariance(model.decoder, model.tokenizer, model.source.config(),
                              editor.covariance ? request.covariance : "none");
  for (const std::int64_t layer : layers) (void)covariance.matrix(layer);
  watch.lap("covariance");
  Planned out;
  EditInput input{model.decoder,
                  model.tokenizer,
                  request.facts,
                  layers,
                  [&](std::int64_t layer) { return covariance.matrix(layer); },
                  parameters,
                  runtime.seed,
                  request.batch,
                  [&](std::int64_t count) { return baseline.contexts(count, runtime.seed); }};
  if (request.stop_at > 0) {
    input.keeps = [&](const Decoder& edited) {
      const double ratio = shipped_perplexity(edited, model.tokenizer, kGuardTokens) /
                           baseline.perplexity(kGuardTokens);
      if (ratio <= request.stop_at) return true;
      out.stopped = Json{{"perplexity_ratio", ratio}, {"limit", request.stop_at}};
      return false;
    };
  }
  out.journal = EditJournal::open(request, editor, [&] {
    out.inputs = inputs_of(request);
    return edit_identity(editor, input, request.stop_at, model.source.config(),
                         covariance.identities(), out.inputs);
  });
  if (out.journal) input.turns = &out.journal->turns();
  out.plan = editor.plan(input);
  if (out.plan.traces.empty()) {
    fail(ErrorKind::kGoal, "edit",
         fmt::format("the first batch was taken back: expected a perplexity ratio of at most {}, "
                     "found {:.4g}",
                     request.stop_at, (*out.stopped)["perplexity_ratio"].get<double>()),
         "nothing was written; take smaller batches or a larger --stop-at");
  }
  watch.lap("plan");
  out.stage = stage_record(editor, parameters, runtime.seed, layers, out.plan);
  out.stage.covariance = covariance.identities();
  out.stage.covariance_from = request.covariance;
  out.stage.batch = request.batch;
  return out;
}

}  // namespace

Json run_edit(const EditRequest& wanted, const RuntimeOptions& runtime, Json& partial) {
  if (wanted.plan) return plan_edit(wanted, runtime);
  LapTimer watch;
  PreparedEdit prepared = prepare_edit(wanted);
  const EditRequest& request = prepared.request;
  const Editor& editor = prepared.editor;
  const SurgeryModel model =
      load_surgery_model(std::move(prepared.source), std::move(prepared.tokenizer), runtime);
  watch.lap("load");
  const LayerChoice choice =
      layers_of(request.layers, editor, model, request.facts.front(), runtime.seed);
  log::verbose(fmt::format("layers {}: {}", fmt::join(choice.layers, ", "), choice.reason));
  watch.lap("layers");
  Baseline baseline(model.decoder, model.tokenizer, model.source.config());
  Planned planned = plan_facts(request, editor, prepared.parameters, runtime, model, choice.layers,
                               baseline, watch);
  EditRequest done = request;  // with the facts that --stop-at left
  done.facts.resize(planned.plan.traces.size());
  EditedModel edited =
      realise(model, planned.plan, done.facts, std::move(planned.stage), request.force);
  watch.lap("apply");
  const auto questions = make_questions(&model.decoder, model.tokenizer, done.facts);
  const Side before =
      probe_side(model.decoder, model, done.facts, questions, baseline.perplexity(kGuardTokens));
  const Side after = probe_side(edited.decoder, model, done.facts, questions,
                                shipped_perplexity(edited.decoder, model.tokenizer, kGuardTokens));
  watch.lap("probe");

  const Proof proof = prove(done, edited, questions, before, after);
  const GuardVerdict verdict = guard(request, planned.plan, edited, before, after, proof);
  Json result{{"method", editor.name},
              {"layers", choice.layers},
              {"layer_reason", choice.reason},
              {"parameters", edited.delta.ledger.stages.front().parameters},
              {"seconds", 0.0},
              {"edits", proof.edits},
              {"left_out", done.left_out},
              {"guards", verdict.json},
              {"resumed", planned.journal ? planned.journal->turns().found() : 0},
              {"outputs", Json::array()}};
  if (!choice.sweep.is_null()) result["sweep"] = choice.sweep;
  if (planned.stopped) result["stopped"] = *planned.stopped;
  const bool good = proof.failed.empty() && verdict.passed;
  if (good || !request.guards)
    result["outputs"] = write_outputs(done, runtime, model, planned, edited, result);
  // What people look at to understand a failure is written in any case.
  if (request.dump) {
    save_dump(*request.dump, planned.plan);
    result["outputs"].push_back(written(*request.dump));
  }
  watch.lap("write");
  result["seconds"] = watch.total();
  result["timings"] = watch.laps();
  if (request.report) {
    save_report(*request.report, result, planned.plan);
    result["outputs"].push_back(written(*request.report));
  }
  if (planned.journal) planned.journal->finish();
  if (!proof.failed.empty() || planned.stopped || (!verdict.passed && request.guards)) {
    partial = result;
    std::vector<std::string> problems = verdict.problems;
    if (planned.stopped) {
      problems.push_back(fmt::format("stopped after {} of {} facts: perplexity ratio {:.4g}",
                                     done.facts.size(), request.facts.size(),
                                     (*planned.stopped)["perplexity_ratio"].get<double>()));
    }
    if (!proof.failed.empty())
      problems.insert(problems.begin(),
                      fmt::format("the edited model does not say the target of {}",
                                  fmt::join(proof.failed, ", ")));
    fail(ErrorKind::kGoal, "edit", fmt::format("{}", fmt::join(problems, "; ")),
         good || !request.guards ? "" : "nothing was written; --no-guards writes all the same");
  }
  return result;
}

}  // namespace lancet
