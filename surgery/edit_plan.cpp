// `lancet edit --plan`: what would be done, from headers only.
#include <fmt/format.h>

#include "core/hash.h"
#include "formats/model_source.h"
#include "model/architecture.h"
#include "model/load_options.h"
#include "surgery/edit.h"
#include "surgery/edit_session.h"
#include "surgery/editor.h"
#include "surgery/layers.h"
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

Json plan_fact(const Tokenizer& tokenizer, const Fact& fact) {
  const PromptRow row = locate_subject(tokenizer, "{}", fact.prompt, fact.subject);
  const std::string prompt = fill_template(fact.prompt, fact.subject);
  Json tokens = Json::array();
  for (const TokenId id : row.ids) tokens.push_back(tokenizer.token(id));
  return {{"id", fact.id},
          {"prompt", prompt},
          {"target", fact.target},
          {"ids", row.ids},
          {"tokens", tokens},
          {"subject_last", row.lookup},
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

Json plan_edit(const EditRequest& request, const RuntimeOptions& runtime) {
  const Editor& editor = editor_of(request);
  const Parameters parameters(editor.numbers, editor.words, request.method_options);
  const ModelSource source = ModelSource::open(request.model);
  const Tokenizer tokenizer = Tokenizer::open(source);
  const DecoderSpec spec = describe_decoder(source.config());
  Json result{{"plan", true}, {"method", editor.name}, {"parameters", parameters.json()}};
  const auto preset = request.layers == "auto" ? preset_layers(spec) : std::nullopt;
  if (const auto fixed = fixed_layers(request.layers, editor, spec)) {
    result["layers"] = fixed->layers;
    result["layer_reason"] = fixed->reason;
  } else if (request.layers == "auto" && !preset) {
    require_mlp(spec, sweep_candidates(spec.layers), "edit");
    result["layers"] = sweep_candidates(spec.layers);
    result["layer_reason"] = "sweep: the best of these";
  } else {
    if (!preset) require_mlp(spec, parse_layers(request.layers, spec.layers), "edit");
    result["layers"] = !preset                         ? parse_layers(request.layers, spec.layers)
                       : editor.reach == Reach::kRange ? spread_layers(*preset, spec).layers
                                                       : preset->layers;
    result["layer_reason"] = preset ? preset->reason : "given";
  }
  result["edits"] = Json::array();
  double tokens = 0;
  for (const Fact& fact : request.facts) {
    Json entry = plan_fact(tokenizer, fact);
    const auto tail = static_cast<double>(entry["ids"].size() + entry["target_ids"].size()) -
                      entry["subject_last"].get<double>();
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
