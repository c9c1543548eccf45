#pragma once
// The engine behind the door of cli/engine.h: one file for each kind of work, this class for what
// they share.

#include <optional>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "model/generate.h"

namespace lancet {

/// A model made runnable.
struct LoadedModel {
  ModelSource source;
  Decoder decoder;
  Tokenizer tokenizer;
};

/// Threads and pools as `runtime` asks for. Called first by every command.
void prepare_runtime(const RuntimeOptions& runtime);

/// Opens and loads a model in the device and dtype of `runtime`.
[[nodiscard]] LoadedModel load_model(const fs::path& model, const RuntimeOptions& runtime);

/// Tokens that end a text: eos_token_id of generation_config.json, as in transformers; where that
/// names none those of config.json, else the tokenizer's own.
[[nodiscard]] std::vector<std::int32_t> end_ids(const ModelSource& source,
                                                const Tokenizer& tokenizer);

class EngineImpl final : public Engine {
 public:
  Json about() override;
  Json plan_run(const fs::path& model, const RuntimeOptions& runtime) override;
  Json forward(const ForwardRequest& request, const RuntimeOptions& runtime) override;
  std::vector<Generation> generate(const GenerateRequest& request, const RuntimeOptions& runtime,
                                   const TextSink& sink) override;
  std::vector<std::vector<std::int32_t>> image_ids(const fs::path& model,
                                                   const std::vector<fs::path>& images,
                                                   const RuntimeOptions& runtime) override;
  ScoreResult score(const ScoreRequest& request, const RuntimeOptions& runtime) override;
  std::vector<TextScore> score_texts(const fs::path& model, const std::vector<std::string>& texts,
                                     const RuntimeOptions& runtime) override;
  Json edit(const EditRequest& request, const RuntimeOptions& runtime, Json& partial) override;
  Json undo(const UndoRequest& request, const RuntimeOptions& runtime) override;
  Json probe(const ProbeRequest& request, const RuntimeOptions& runtime) override;
  Json locate(const LocateRequest& request, const RuntimeOptions& runtime) override;
  Json covariance(const CovarianceRequest& request, const RuntimeOptions& runtime) override;
  Json train(const TrainRequest& request, const RuntimeOptions& runtime,
             const TrainSink& sink) override;
  std::vector<Matrix> prompt_states(const fs::path& model, const std::vector<std::string>& prompts,
                                    bool average, const RuntimeOptions& runtime) override;
  Json held_out_loss(const HeldOutRequest& request, const RuntimeOptions& runtime) override;
  const Linalg& linalg(const RuntimeOptions& runtime) override;
  Json list(const std::string& what) override;

 private:
  /// The model at `path`, loaded where it is not the last one.
  [[nodiscard]] const LoadedModel& kept(const fs::path& path, const RuntimeOptions& runtime);

  std::optional<std::pair<fs::path, LoadedModel>> kept_;
  std::optional<Conversation> conversation_;  ///< with the kept model
};

}  // namespace lancet

/// What open_engine() looks up in the library.
extern "C" lancet::Engine* lancet_engine_instance();
