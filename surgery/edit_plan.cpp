// `lancet edit --plan`: what would be done, from headers only.
#include <fmt/format.h>

#include "model/load_options.h"
#include "surgery/edit.h"
#include "surgery/edit_checks.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

/// Float operations a second that two ordinary cores reach in this work: for estimates only.
constexpr double kOperationsPerSecond = 1e11;

std::uint64_t parameters_of(const ModelSource& source) {
  std::uint64_t sum = 0;
  for (const TensorInfo& info : source.tensors()) sum += info.elements();
  return sum;
}

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
  result["edits"] = Json::array();
  double tokens = 0;
  for (const Fact& fact : request.facts) {
    Json entry = plan_fact(tokenizer, fact, finds_subjects(editor));
    const auto tail = static_cast<double>(entry["ids"].size() + entry["target_ids"].size()) -
                      (finds_subjects(editor) ? entry["subject_last"].get<double>() : 0);
    tokens += tail * (1 + parameters.json().value("context_count", 0.0));
    result["edits"].push_back(std::move(entry));
  }
  const std::uint64_t parameters_count = parameters_of(source);
  const LoadOptions options = load_options(runtime);
  result["memory"] = weight_sizes(source, options).loaded + (300ULL << 20);
  result["offload"] = runtime.offload;
  // Forward and input gradient: 4 operations per parameter and token.
  result["seconds"] = 2 + 4.0 * static_cast<double>(parameters_count) * tokens *
                              parameters.json().value("steps", 1.0) / kOperationsPerSecond;
  result["bytes"] = request.out ? written_bytes(source) : 0;
  result["outputs"] = Json::array();
  for (const auto& path :
       {request.out, request.delta, request.lora, request.report, request.dump}) {
    if (path) result["outputs"].push_back(path->string());
  }
  return result;
}

}  // namespace lancet
