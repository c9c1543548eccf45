#pragma once
// OUT/checkpoints/step-00000100/: an adapter that PEFT loads, and beside it what a run needs to go
// on as if it had not stopped (optimizer.safetensors, state.json). A directory appears whole or not
// at all; a killed run goes on from the newest.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "distill/train/optimizer.h"
#include "formats/adapter/peft_writer.h"
#include "model/lora.h"

namespace lancet {

/// Where a run stands between two steps.
struct RunState {
  std::int64_t step = 0;     ///< steps done
  std::uint64_t tokens = 0;  ///< seen by them
  double seconds = 0;        ///< of all runs together
  double loss = 0;           ///< of the last step
  std::optional<double> first_eval, last_eval, best_eval;
  std::int64_t best_step = 0;    ///< of best_eval
  std::int64_t worse_evals = 0;  ///< since then
  std::int64_t eval_step = -1;   ///< of last_eval

  [[nodiscard]] Json json() const;
  [[nodiscard]] static RunState from_json(const Json& json, std::string_view where);
};

class Checkpoints {
 public:
  /// `run`: everything that moves a bit of the run; only a run with the same may be taken up.
  Checkpoints(const fs::path& out, Json run);

  /// Puts the newest checkpoint that can be read into adapter and optimizer; damaged newer ones are
  /// named in a warning and removed. Nothing where there is none. kInput where all are damaged;
  /// kUsage naming the first difference where they are of another run.
  [[nodiscard]] std::optional<RunState> resume(const LoraAdapter& adapter, Optimizer& optimizer);
  [[nodiscard]] bool has(std::int64_t step) const;
  void save(const RunState& state, const LoraAdapter& adapter, const fs::path& base,
            Optimizer& optimizer);
  /// The adapter's values alone.
  void load_values(std::int64_t step, const LoraAdapter& adapter) const;
  /// Keeps the newest `keep` and the best one.
  void prune(std::int64_t keep, std::int64_t best_step) const;
  void remove_all() const;

 private:
  /// kInput for damaged files.
  [[nodiscard]] RunState load(std::int64_t step, const LoraAdapter& adapter, Optimizer& optimizer);
  [[nodiscard]] fs::path path_of(std::int64_t step) const;
  [[nodiscard]] std::vector<std::int64_t> steps() const;  ///< ascending
  fs::path folder_;
  Json run_;
};

/// What is written of an adapter in training.
[[nodiscard]] AdapterFile adapter_file(const LoraAdapter& adapter, const fs::path& base);

}  // namespace lancet
