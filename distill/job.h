#pragma once
// JOB.yml: what is distilled from whom into what. Strict: unknown keys, wrong types and values out
// of range are kUsage with line and column.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/yaml.h"
#include "distill/recipe.h"
#include "distill/teacher/budget.h"
#include "distill/teacher/client.h"

namespace lancet {

/// Block `teacher`.
struct TeacherBlock {
  std::vector<std::string> urls;
  std::string model;
  std::string api_key_env;  ///< name of the variable; "" = no key
  std::string ca_file;
  std::string licence;  ///< declared; "" = by the model's name
  bool stream = false;
  bool send_seed = true;
  std::uint32_t top_logprobs = 0;
  bool logprobs = false;
  Json sampling = Json::object();  ///< as sent: temperature, top_p, max_tokens, stop, ...
  Json extra = Json::object();     ///< further fields of every body, for this server
  TeacherLimits limits;
  BudgetCaps caps;
  TokenPrices prices;
};

/// Block `data`.
struct DataBlock {
  const DataRecipe* recipe = nullptr;
  std::vector<std::filesystem::path> seeds;
  std::uint32_t samples = 1;      ///< draws from every seed
  std::uint64_t limit = 0;        ///< seeds used; 0 = all
  std::filesystem::path prompts;  ///< folder of edited prompts, laid over share/prompts
  DataOptions options;
  std::vector<std::filesystem::path> rows;  ///< instead of all that: data that is there already
};

/// One key of a block whose keys are the options of a command: `curate`, `train`.
struct JobSetting {
  std::string key;
  std::vector<std::string> values;  ///< one; of a list all; of a mapping "key=value" each
  int line = 0, column = 0;
};
using JobSettings = std::vector<JobSetting>;

/// Block `student`.
struct StudentBlock {
  std::string
      model;         ///< any MODEL of the command line; a relative path is relative to the job file
  std::string name;  ///< under which it will be given away, checked against the licences
  std::string licence;  ///< of the base, declared
  std::string place;    ///< "LINE:COLUMN" of the model
};

/// Block `evaluate`.
struct EvaluateBlock {
  std::vector<std::filesystem::path> texts;  ///< for perplexity; none: the one that ships
  std::vector<std::filesystem::path> rows;   ///< held out; none: those that training held out
  std::string texts_place, rows_place;       ///< "LINE:COLUMN"
};

struct Job {
  std::string source;  ///< for messages
  std::string name = "data";
  std::uint64_t seed = 0;
  TeacherBlock teacher;  ///< not given where `data.rows` is
  DataBlock data;
  /// *.jsonl: the dataset. Without an ending: the folder of all stages, the dataset data.jsonl in
  /// it. Relative to the job file, like every path.
  std::filesystem::path output;
  std::optional<JobSettings> curate, train;
  std::optional<StudentBlock> student;
  std::optional<EvaluateBlock> evaluate;
};

/// Where `synthesize` writes; empty when the job does not say.
[[nodiscard]] std::filesystem::path dataset_path(const Job& job);

[[nodiscard]] Job read_job(const std::filesystem::path& path);
/// `source` names the text in messages; relative paths are relative to `folder`.
[[nodiscard]] Job parse_job(std::string_view text, std::string_view source,
                            const std::filesystem::path& folder);
/// The resolved job for manifests: everything that can move a byte; no secret is in it.
[[nodiscard]] Json job_json(const Job& job);

}  // namespace lancet
