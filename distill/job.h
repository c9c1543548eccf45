#pragma once
// JOB.yml: what is distilled from whom into what. Strict: unknown keys, wrong types and values out
// of range are kUsage with line and column.

#include <cstdint>
#include <filesystem>
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
};

struct Job {
  std::string source;  ///< for messages
  std::string name = "data";
  std::uint64_t seed = 0;
  TeacherBlock teacher;
  DataBlock data;
  std::filesystem::path output;  ///< of `synthesize`; relative to the job file, like every path
  /// Blocks of later stages, checked to be mappings: `curate`, `student`, `train`, `evaluate`.
  std::vector<std::pair<std::string, Node>> later;
};

[[nodiscard]] Job read_job(const std::filesystem::path& path);
/// `source` names the text in messages; relative paths are relative to `folder`.
[[nodiscard]] Job parse_job(std::string_view text, std::string_view source,
                            const std::filesystem::path& folder);
/// The resolved job for manifests: everything that can move a byte; no secret is in it.
[[nodiscard]] Json job_json(const Job& job);

}  // namespace lancet
