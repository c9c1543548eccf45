#pragma once
// The door between the executable (no LibTorch) and liblancet_engine. cli/engine/*.cpp implements
// it inside the engine; open_engine() finds LibTorch, loads both, and hands out the one instance.

#include <string>
#include <vector>

#include "core/json.h"
#include "distill/train/held_out.h"
#include "distill/train/requests.h"
#include "merge/linalg.h"
#include "model/requests.h"
#include "surgery/locate/requests.h"
#include "surgery/requests.h"
#include "surgery/statistics/requests.h"

namespace lancet {

class Engine {
 public:
  virtual ~Engine() = default;
  /// {libtorch, cuda, cpu, threads, parallel: ...}
  [[nodiscard]] virtual Json about() = 0;
  /// What a command that runs `model` would hold in memory, from headers: the JSON of its --plan.
  [[nodiscard]] virtual Json plan_run(const fs::path& model, const RuntimeOptions& runtime) = 0;
  [[nodiscard]] virtual Json forward(const ForwardRequest& request,
                                     const RuntimeOptions& runtime) = 0;
  /// The model stays loaded until another one is asked for.
  [[nodiscard]] virtual std::vector<Generation> generate(const GenerateRequest& request,
                                                         const RuntimeOptions& runtime,
                                                         const TextSink& sink) = 0;
  /// For each PNG or JPEG file the ids that say it to a model with an image tokenizer: begin,
  /// patches, end.
  [[nodiscard]] virtual std::vector<std::vector<std::int32_t>> image_ids(
      const fs::path& model, const std::vector<fs::path>& images,
      const RuntimeOptions& runtime) = 0;
  [[nodiscard]] virtual ScoreResult score(const ScoreRequest& request,
                                          const RuntimeOptions& runtime) = 0;
  /// Each text on its own; the model stays loaded until another one is asked for.
  [[nodiscard]] virtual std::vector<TextScore> score_texts(const fs::path& model,
                                                           const std::vector<std::string>& texts,
                                                           const RuntimeOptions& runtime) = 0;
  /// The JSON of `edit --json` (or of --plan). Writes outputs itself; throws kGoal after filling
  /// `partial` when a fact fails or a guard stops the write.
  [[nodiscard]] virtual Json edit(const EditRequest& request, const RuntimeOptions& runtime,
                                  Json& partial) = 0;
  /// The JSON of `undo --json` where other edits have to be computed anew. Writes the model itself.
  [[nodiscard]] virtual Json undo(const UndoRequest& request, const RuntimeOptions& runtime) = 0;
  [[nodiscard]] virtual Json probe(const ProbeRequest& request, const RuntimeOptions& runtime) = 0;
  /// The JSON of `locate ... --json`. Writes --report and --npz itself.
  [[nodiscard]] virtual Json locate(const LocateRequest& request,
                                    const RuntimeOptions& runtime) = 0;
  /// The JSON of `covariance --json` (or of --plan). Writes the statistics itself.
  [[nodiscard]] virtual Json covariance(const CovarianceRequest& request,
                                        const RuntimeOptions& runtime) = 0;
  /// The last line of `train --json` (or the JSON of --plan); every other line goes through `sink`.
  [[nodiscard]] virtual Json train(const TrainRequest& request, const RuntimeOptions& runtime,
                                   const TrainSink& sink) = 0;
  /// For each text [layers, d_model]: the residual stream that enters every layer, of the last
  /// token or as the mean over all tokens.
  [[nodiscard]] virtual std::vector<Matrix> prompt_states(const fs::path& model,
                                                          const std::vector<std::string>& prompts,
                                                          bool average,
                                                          const RuntimeOptions& runtime) = 0;
  /// {"rows", "targets", "loss"}: mean negative log likelihood of the tokens of rows that training
  /// would count; loss null when there is none.
  [[nodiscard]] virtual Json held_out_loss(const HeldOutRequest& request,
                                           const RuntimeOptions& runtime) = 0;
  /// Linear algebra on the device of `runtime`; lives as long as the engine.
  [[nodiscard]] virtual const Linalg& linalg(const RuntimeOptions& runtime) = 0;
  /// Names, titles, papers and parameters of a registry: "architectures",
  /// "editors" or "losses".
  [[nodiscard]] virtual Json list(const std::string& what) = 0;
};

/// LibTorch is looked for in $LANCET_LIBTORCH, beside the install tree, in the build's own .venv,
/// then through `python3 -c "import torch"`. Missing or of another version: Error(kResource) saying
/// what was tried.
[[nodiscard]] Engine& open_engine(const RuntimeOptions& runtime);

}  // namespace lancet
