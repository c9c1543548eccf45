#pragma once
// The steps of one `lancet edit`, in the order in which run_edit takes them.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/covariance.h"
#include "surgery/editor.h"
#include "surgery/files/apply.h"
#include "surgery/guard.h"
#include "surgery/layers.h"
#include "surgery/probe.h"

namespace lancet {

/// A model on disk, opened and loaded.
struct SurgeryModel {
  ModelSource source;
  Tokenizer tokenizer;
  Decoder decoder;
};
[[nodiscard]] SurgeryModel load_surgery_model(const fs::path& path, const RuntimeOptions& runtime);
[[nodiscard]] SurgeryModel load_surgery_model(ModelSource source, Tokenizer tokenizer,
                                              const RuntimeOptions& runtime);

/// What an editor planned, and the model that it gives once rounded to the stored dtype.
struct EditedModel {
  Delta delta;                   ///< this call's edits as one stage
  EditStack stack;               ///< with the edits the model already carried
  std::vector<std::string> ids;  ///< of this call's edits in the stack
  Decoder decoder;
  std::map<std::string, double> relative_norm;  ///< ||dW||_F / ||W||_F per tensor
  std::map<std::string, double> delta_norm;     ///< ||left right^T||_F per tensor
  double spectral_ratio = 0;
};

/// How a stage of the ledger came about: everything that is needed to make it again.
[[nodiscard]] StageRecord stage_record(const Editor& editor, const Parameters& parameters,
                                       std::uint64_t seed, const std::vector<std::int64_t>& layers,
                                       const EditPlan& plan);
/// A plan as one stage. `base` gives the tensors that it is computed on. kUsage where two facts
/// have one id.
[[nodiscard]] Delta make_delta(const std::vector<Fact>& facts, const EditPlan& plan,
                               StageRecord stage, const Tokenizer& tokenizer,
                               const std::function<PlainTensor(const std::string& tensor)>& base);
/// The same model with the values of `tensor` (plain bytes) as that weight.
[[nodiscard]] Decoder with_plain(const Decoder& model, const std::string& name,
                                 const PlainTensor& tensor);

/// Delta of a stage -> weights as they will be written -> decoder.
[[nodiscard]] EditedModel realise(const SurgeryModel& model, const EditPlan& plan,
                                  const std::vector<Fact>& facts, StageRecord stage, bool force);

/// Second moments by `--covariance`; each layer is collected once, `identities` tells them. Warns
/// of those that come from fewer keys than a key has numbers: they are singular.
class CovarianceSource {
 public:
  CovarianceSource(const Decoder& model, const Tokenizer& tokenizer, const Json& config,
                   std::string wish);
  [[nodiscard]] at::Tensor matrix(std::int64_t layer);
  [[nodiscard]] const Json& identities() const noexcept { return identities_; }

 private:
  const Decoder& model_;
  const Tokenizer& tokenizer_;
  std::string wish_;
  std::string config_sha256_;
  std::map<std::int64_t, at::Tensor> matrices_;
  Json identities_ = Json::object();
};

/// Columns [first, last) of the factors that belong to each fact; of a joint plan all of them stand
/// under the first.
[[nodiscard]] std::vector<std::pair<std::int64_t, std::int64_t>> column_ranges(const EditPlan& plan,
                                                                               std::int64_t rank,
                                                                               std::int64_t facts);

/// The editor that tries layers for this one: itself, or rome where it has no contexts or asks for
/// second moments.
[[nodiscard]] const Editor& trial_editor(const Editor& wanted);
/// Tries a layer with one fact by trial_editor: few passes, identity covariance.
[[nodiscard]] LayerTrial try_layer(const SurgeryModel& model, const Editor& editor,
                                   const Fact& fact, std::int64_t layer, std::uint64_t seed);

/// The layers that `--layers` means for this editor as far as headers tell; nothing where a sweep
/// has to choose. kUsage for several where it writes one.
[[nodiscard]] std::optional<LayerChoice> known_layers(const std::string& wish, const Editor& editor,
                                                      const DecoderSpec& spec);

/// known_layers, or those of the sweep.
[[nodiscard]] LayerChoice layers_of(const std::string& wish, const Editor& editor,
                                    const SurgeryModel& model, const Fact& fact,
                                    std::uint64_t seed);

/// `--dump`: I.key.L, I.value, I.losses, I.left.L, I.right.L of the edit at place I from 0 (of
/// experts whose part of the key begins at column F > 0: I.left.L.F, I.right.L.F).
void save_dump(const fs::path& path, const EditPlan& plan);

/// `--report`: one HTML file with the table of facts, loss curves, guards.
void save_report(const fs::path& path, const Json& result, const EditPlan& plan);
void save_probe_report(const fs::path& path, const Json& result);

/// Seconds of the parts of a run.
class LapTimer {
 public:
  /// Seconds since the last call (or construction), stored under `name`.
  void lap(const std::string& name);
  [[nodiscard]] double total() const;
  [[nodiscard]] const Json& laps() const noexcept { return laps_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now(), last_ = start_;
  Json laps_ = Json::object();
};

}  // namespace lancet
