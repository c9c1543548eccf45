// `lancet edit --plan`: what would be done, from headers only.
#include <algorithm>

#include <fmt/format.h>

#include "model/load_options.h"
#include "surgery/cost.h"
#include "surgery/covariance.h"
#include "surgery/edit.h"
#include "surgery/edit_checks.h"
#include "surgery/probe_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

/// `subject_last` where the editor looks for it.
Json plan_fact(const Tokenizer& tokenizer, const Fact& fact, bool finds_subject) {
  const std::string prompt = fill_template(fact.prompt, fact.subject);
  const PromptRow row = finds_subject ? locate_subject(tokenizer, "{}", fact.prompt, fact.subject)
                                      : PromptRow{tokenizer.encode(prompt).ids, 0};
  Json tokens = Json::array();
  for (const TokenId id : row.ids) tokens.push_back(tokenizer.token(id));
  return {{"id", fact.id},
          {"prompt", prompt},
          {"target", fact.target},
          {"ids", row.ids},
          {"tokens", tokens},
          {"subject_last", finds_subject ? Json(row.lookup) : Json()},
          {"target_ids", target_tokens(tokenizer, prompt, fact.target)}};
}

/// The same fact told the other way round, as a record of --requests: an edit writes one direction
/// only. Null where there is none, or where `facts` have it.
Json other_direction(const Fact& fact, const std::vector<Fact>& facts) {
  const auto reversed = reversed_prompt(fact);
  if (!reversed) return {};
  const std::string &prompt = reversed->first, &answer = reversed->second;
  const std::size_t at = prompt.find(fact.target);
  const bool there = std::ranges::any_of(facts, [&](const Fact& each) {
    return fill_template(each.prompt, each.subject) == prompt && each.target == answer;
  });
  if (there || at == std::string::npos) return {};
  return {{"id", fact.id + "-reversed"},
          {"subject", fact.target},
          {"prompt", std::string(prompt).replace(at, fact.target.size(), "{}")},
          {"target", answer}};
}

/// Of the text that second moments are collected over, when no run has kept those of the model.
double shipped_tokens() {
  constexpr double kBytesOfToken = 4.5;
  return static_cast<double>(fs::file_size(shipped_covariance_text().path)) / kBytesOfToken;
}

/// Memory and time of second moments, into a plan: `covariance_seconds` of collecting them, which
/// only the first edit of these layers does (a plan does not hash the weights that would tell).
void plan_moments(const PreparedEdit& edit, const std::vector<std::int64_t>& layers, Json& result) {
  const std::string& wish = edit.request.covariance;
  result["covariance_seconds"] = 0.0;
  if (!edit.editor.covariance || wish == "none") return;
  result["peak_memory"] =
      result["peak_memory"].get<std::uint64_t>() + moments_memory(edit.spec, layers);
  result["seconds"] = result["seconds"].get<double>() +
                      moments_solve_seconds(edit.spec, layers, edit.editor.needs_covariance);
  if (wish == "auto")
    result["covariance_seconds"] =
        moments_collect_seconds(edit.source, edit.spec, layers, shipped_tokens(), false);
}

/// Of the model in the dtypes it has; quantised tensors become float32.
std::uint64_t written_bytes(const ModelSource& source) {
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : source.tensors())
    bytes += dtype_info(tensor.dtype).quantized ? tensor.elements() * 4 : tensor.bytes;
  return bytes;
}

}  // namespace

Json plan_edit(const EditRequest& wanted, const RuntimeOptions& runtime) {
  const PreparedEdit prepared = prepare_edit(wanted);
  const auto& [request, editor, parameters, source, tokenizer, spec, layers] = prepared;
  Json result{{"plan", true}, {"method", editor.name}, {"parameters", parameters.json()}};
  if (layers) {
    result["layers"] = layers->layers;
    result["layer_reason"] = layers->reason;
  } else {
    require_mlp(spec, sweep_candidates(spec.layers), "edit");
    result["layers"] = sweep_candidates(spec.layers);
    result["layer_reason"] = "sweep: the best of these";
  }
  result["left_out"] = request.left_out;
  result["edits"] = Json::array();
  double tokens = 0;
  for (const Fact& fact : request.facts) {
    Json entry = plan_fact(tokenizer, fact, finds_subjects(editor));
    entry["reversed"] = other_direction(fact, request.facts);
    const auto tail = static_cast<double>(entry["ids"].size() + entry["target_ids"].size()) -
                      (finds_subjects(editor) ? entry["subject_last"].get<double>() : 0);
    tokens += tail * (1 + parameters.json().value("context_count", 0.0));
    result["edits"].push_back(std::move(entry));
  }
  const std::uint64_t parameters_count = parameters_of(source);
  const LoadOptions options = load_options(runtime);
  result["peak_memory"] = weight_sizes(source, options).loaded + kEditingMemory;
  result["offload"] = runtime.offload;
  // Forward and input gradient: 4 operations per parameter and token.
  result["seconds"] = 2 + 4.0 * static_cast<double>(parameters_count) * tokens *
                              parameters.json().value("steps", 1.0) / kOperationsPerSecond;
  // A sweep chooses one of its candidates.
  plan_moments(prepared,
               layers ? layers->layers : std::vector{sweep_candidates(spec.layers).front()},
               result);
  result["bytes"] = request.out ? written_bytes(source) : 0;
  result["outputs"] = Json::array();
  for (const auto& path :
       {request.out, request.delta, request.lora, request.report, request.dump}) {
    if (path) result["outputs"].push_back(path->string());
  }
  return result;
}

}  // namespace lancet
