// EngineImpl::generate and score: a model loaded, one call of model/.

#include "cli/engine/engine_impl.h"
#include "model/generate.h"
#include "model/load_options.h"
#include "model/sampling.h"
#include "model/score.h"

namespace lancet {

Json EngineImpl::plan_run(const fs::path& model, const RuntimeOptions& runtime) {
  constexpr std::uint64_t kProgram = 150ULL << 20;  ///< libraries, tokenizer
  const ModelSource source = ModelSource::open(model);
  const DecoderSpec spec = Decoder::describe(source);
  const WeightSizes sizes = weight_sizes(source, load_options(runtime));
  return {{"plan", true},
          {"model", model.string()},
          {"architecture", spec.model_type},
          {"layers", spec.layers},
          {"offload", runtime.offload},
          {"weights_stored", sizes.stored},
          {"weights_memory", sizes.loaded},
          {"peak_memory", sizes.loaded + kProgram},
          {"seconds", nullptr}};
}

std::vector<Generation> EngineImpl::generate(const GenerateRequest& request,
                                             const RuntimeOptions& runtime, const TextSink& sink) {
  check_sampling(request.sampling);
  const LoadedModel& loaded = kept(request.model, runtime);
  SamplingOptions sampling = request.sampling;
  if (sampling.end_ids.empty()) sampling.end_ids = end_ids(loaded.source, loaded.tokenizer);
  if (request.converse) {
    if (!conversation_) conversation_.emplace(loaded.decoder, sampling);
    return {conversation_->answer(loaded.tokenizer, request.prompts.at(0), runtime.seed, sink)};
  }
  return lancet::generate(loaded.decoder, loaded.tokenizer, request.prompts, sampling, runtime.seed,
                          sink);
}

const LoadedModel& EngineImpl::kept(const fs::path& path, const RuntimeOptions& runtime) {
  if (!kept_ || kept_->first != path) {
    conversation_.reset();
    kept_.emplace(path, load_model(path, runtime));
  }
  return kept_->second;
}

ScoreResult EngineImpl::score(const ScoreRequest& request, const RuntimeOptions& runtime) {
  const LoadedModel loaded = load_model(request.model, runtime);
  return lancet::score(loaded.decoder, loaded.tokenizer, request);
}

std::vector<TextScore> EngineImpl::score_texts(const fs::path& model,
                                               const std::vector<std::string>& texts,
                                               const RuntimeOptions& runtime) {
  const LoadedModel& loaded = kept(model, runtime);
  return score_each(loaded.decoder, loaded.tokenizer, texts);
}

}  // namespace lancet
