#pragma once
// What the commands of the teacher's side hand to liblancet_factory (cli/factory.h).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/requests.h"

namespace lancet {

/// `lancet synthesize`: a job file, or seeds and a teacher.
struct SynthesizeRequest {
  std::filesystem::path job;          ///< JOB.yml; empty: `text` is the job
  std::string text;                   ///< a job as YAML, relative to the working directory
  std::filesystem::path output;       ///< *.jsonl; empty: what the job says
  std::filesystem::path batch_files;  ///< folder of OpenAI batch files instead of live requests
  unsigned part = 1, parts = 1;       ///< of the seeds, by the hash of their content
  bool plan = false, force = false;
  bool finish = false;                ///< ask nothing more: write what is complete
  bool retry_failed = false;          ///< ask again what ended in a typed failure
  std::optional<std::uint64_t> seed;  ///< overrides the job's
  std::string model_name;             ///< of the student to be; checked against the licences
  bool accept_terms_risk = false;
};

/// The student asked for many texts at a time; comes from the engine.
using ScoreTexts = std::function<std::vector<TextScore>(const std::vector<std::string>& texts)>;

/// `name` of distill/filters with its settings, key by key; a key of a list may come again.
struct FilterRequest {
  std::string name;
  std::vector<std::pair<std::string, std::string>> settings;
};

/// `lancet curate`: rows in, rows that passed out.
struct CurateRequest {
  std::vector<std::filesystem::path> inputs;  ///< JSON lines
  std::filesystem::path output;
  std::vector<FilterRequest> filters;  ///< in the order in which a row meets them
  std::filesystem::path report;        ///< HTML; empty = none
  ScoreTexts score;                    ///< empty without --student
  std::filesystem::path student;       ///< the model behind `score`, which is not written over
  std::vector<std::string> teachers;   ///< models whose outputs the rows are
  std::vector<std::string> licences;   ///< declared for teachers that the table does not know
  std::string model_name;              ///< of the student to be; checked against the licences
  bool accept_terms_risk = false;
  bool strict = false;  ///< a bad row is an error
  bool plan = false, force = false;
  bool settings_only = false;  ///< check filters and licences; the inputs need not be there
  std::uint64_t seed = 0;
};

}  // namespace lancet
