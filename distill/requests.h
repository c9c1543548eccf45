#pragma once
// What the commands of the teacher's side hand to liblancet_factory (cli/factory.h).

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
};

/// `lancet curate`: rows in, rows that passed out.
struct CurateRequest {
  std::vector<std::filesystem::path> inputs;  ///< JSON lines
  std::filesystem::path output;
};

}  // namespace lancet
