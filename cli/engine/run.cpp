// EngineImpl::generate and score: a model loaded, one call of model/.

#include "cli/engine/engine_impl.h"
#include "model/generate.h"
#include "model/sampling.h"
#include "model/score.h"

namespace lancet {

std::vector<Generation> EngineImpl::generate(const GenerateRequest& request,
                                             const RuntimeOptions& runtime, const TextSink& sink) {
  check_sampling(request.sampling);
  const LoadedModel loaded = load_model(request.model, runtime);
  SamplingOptions sampling = request.sampling;
  if (sampling.end_ids.empty()) sampling.end_ids = end_ids(loaded.source, loaded.tokenizer);
  return lancet::generate(loaded.decoder, loaded.tokenizer, request.prompts, sampling, runtime.seed,
                          sink);
}

ScoreResult EngineImpl::score(const ScoreRequest& request, const RuntimeOptions& runtime) {
  const LoadedModel loaded = load_model(request.model, runtime);
  return lancet::score(loaded.decoder, loaded.tokenizer, request);
}

std::vector<TextScore> EngineImpl::score_texts(const fs::path& model,
                                               const std::vector<std::string>& texts,
                                               const RuntimeOptions& runtime) {
  if (!student_ || student_->first != model) student_.emplace(model, load_model(model, runtime));
  return score_each(student_->second.decoder, student_->second.tokenizer, texts);
}

}  // namespace lancet
