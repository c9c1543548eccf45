#pragma once
// What a training run leaves for people: JSON lines, TensorBoard events, an HTML page.
//
// DIR/steps.jsonl: one object a step ({"step","epoch","loss",...}), evaluations with "eval": true.
// DIR/events.out.tfevents.*: the same numbers (distill/train/events.h).
// DIR/report.html: curves, samples, forgetting; written by finish().

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"

namespace lancet {

/// One optimiser step.
struct StepRecord {
  std::int64_t step = 0;  ///< from 1
  double epoch = 0;       ///< passes over the data, 1.5 = in the middle of the second
  double loss = 0, lr = 0;
  double grad_norm = 0;          ///< before clipping
  std::uint64_t tokens = 0;      ///< seen since the start, padding not counted
  std::uint64_t targets = 0;     ///< of these, counted by the loss, in this step
  double tokens_per_second = 0;  ///< of this step
  double seconds = 0;            ///< since the start
  std::uint64_t peak_memory = 0;
  /// Further numbers by name: "ce", "kd", "coverage" (teacher mass on its top tokens), "margin",
  /// "accuracy", ...
  std::vector<std::pair<std::string, double>> more;
};

struct EvalRecord {
  std::int64_t step = 0;  ///< 0 = before the first
  double loss = 0;        ///< mean over counted tokens
  std::uint64_t targets = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, double>> more;
};

/// A prompt asked before and after.
struct SampleRecord {
  std::string prompt, wanted, before, after;
};

/// {"tests": [{"name", "before", "after", ...}]}: distill/train/abilities.h.
struct RunRecord {
  std::string title;                  ///< of the page: the adapter's name
  Json settings = Json::object();     ///< key: value, as the command resolved them
  Json data = Json::object();         ///< dataset_json, pack_json
  Json result = Json::object();       ///< what `train --json` ends with
  std::vector<SampleRecord> samples;  ///< may be empty
  Json forgetting = nullptr;          ///< forgetting_json, or null
};

class TrainLog {
 public:
  struct Options {
    std::filesystem::path folder;  ///< made when missing; empty: nothing is written
    std::int64_t resume_step = 0;  ///< steps after it in steps.jsonl are dropped: the run that is
                                   ///< taken up again had not saved them
    std::function<void(const Json&)> echo;  ///< every line too, for --json; may be empty
  };
  /// Errors: kResource when a file cannot be written.
  explicit TrainLog(Options options);
  ~TrainLog();
  TrainLog(const TrainLog&) = delete;
  TrainLog& operator=(const TrainLog&) = delete;

  void step(const StepRecord& record);
  void eval(const EvalRecord& record);
  /// Writes the page over every step in steps.jsonl, those of earlier runs too.
  void finish(const RunRecord& run);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lancet
