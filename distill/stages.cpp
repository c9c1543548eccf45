#include "distill/stages.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/nearby.h"
#include "core/text.h"
#include "distill/job.h"
#include "distill/licence.h"
#include "distill/prompts.h"
#include "formats/model_source.h"

namespace lancet {
namespace {

Json paths_json(const std::vector<fs::path>& paths) {
  Json out = Json::array();
  for (const fs::path& path : paths) out.push_back(path.string());
  return out;
}

Json settings_json(const std::optional<JobSettings>& settings) {
  if (!settings) return nullptr;
  Json out = Json::array();
  for (const JobSetting& each : *settings)
    out.push_back(
        {{"key", each.key}, {"values", each.values}, {"line", each.line}, {"column", each.column}});
  return out;
}

/// Seeds as files; of a folder those in it.
std::vector<fs::path> seed_files(const Job& job) {
  std::vector<fs::path> out;
  for (const fs::path& path : job.data.seeds) {
    if (!fs::is_directory(path)) {
      out.push_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

Json synthesize_json(const Job& job) {
  Json asks = job_json(job);
  asks.erase("name");
  asks["teacher"].erase("url");  // where it is asked moves nothing
  const DataRecipe& recipe = *job.data.recipe;
  const PromptLibrary prompts(std::string(recipe.name), job.data.prompts);
  for (const std::string_view name : recipe.prompts)
    asks["prompts"][name] = prompts.text(std::string(name));
  return {{"asks", std::move(asks)},
          {"files", paths_json(seed_files(job))},
          {"rows", row_kind_name(recipe.rows)},
          {"top_logprobs", job.teacher.top_logprobs}};
}

/// Whether the block of curate takes the risk of terms that forbid the use.
bool accepts_risk(const Job& job) {
  if (!job.curate) return false;
  for (const JobSetting& each : *job.curate) {
    const bool named = each.key == "accept_terms_risk" || each.key == "accept-terms-risk";
    if (named && each.values.front() == "true") return true;
  }
  return false;
}

/// The student's name against the licences of the teacher, or of the data: before anybody is paid.
void check_licences(const Job& job) {
  LicenceDuties duties;
  if (job.data.rows.empty()) duties.add_teacher(job.teacher.model);
  if (!job.teacher.licence.empty()) duties.declare(job.teacher.licence);
  for (const fs::path& rows : job.data.rows) duties.add_data(rows);
  if (!job.student->licence.empty()) duties.declare(job.student->licence);
  duties.check(job.student->name, accepts_risk(job));
}

/// The student is there: what trains it would ask for it without a place.
void check_student(const Job& job) {
  std::error_code ignored;
  const ModelPath path = split_model_path(job.student->model);
  for (const fs::path& part : {path.model, path.adapter}) {
    if (part.empty() || fs::exists(part, ignored)) continue;
    fail(ErrorKind::kInput, "job",
         fmt::format("{}:{}: student: model: expected a model, found none at '{}'",
                     printable(job.source), job.student->place, printable(part.string())),
         nearby_hint(part));
  }
}

/// The files of `evaluate` are there, but for those that the job itself writes.
void check_evaluated(const Job& job) {
  const auto check = [&](const char* key, const std::vector<fs::path>& files,
                         const std::string& place) {
    for (const fs::path& file : files) {
      std::error_code ignored;
      const auto inside =
          std::mismatch(job.output.begin(), job.output.end(), file.begin(), file.end());
      if (inside.first == job.output.end() || fs::is_regular_file(file, ignored)) continue;
      fail(ErrorKind::kInput, "distill",
           fmt::format("{}:{}: evaluate: {}: expected a file, found none at '{}'",
                       printable(job.source), place, key, printable(file.string())),
           nearby_hint(file));
    }
  };
  check("perplexity", job.evaluate->texts, job.evaluate->texts_place);
  check("rows", job.evaluate->rows, job.evaluate->rows_place);
}

}  // namespace

Json describe_job(const fs::path& path, std::optional<std::uint64_t> seed) {
  Job job = read_job(path);
  if (seed) job.seed = *seed;
  if (job.output.empty() || job.output.has_extension())
    fail(ErrorKind::kUsage, "distill",
         fmt::format("{}: output: expected a folder for what the stages write, found '{}'",
                     printable(path.string()), printable(job.output.string())),
         "output: NAME (a name that ends in .jsonl is one dataset, for lancet synthesize)");
  Json out{{"name", job.name}, {"seed", job.seed}, {"output", job.output.string()}};
  out["accept_terms_risk"] = accepts_risk(job);
  const bool given = !job.data.rows.empty();
  out["rows"] = given ? paths_json(job.data.rows) : Json();
  out["synthesize"] = given ? Json() : synthesize_json(job);
  out["curate"] = settings_json(job.curate);
  out["train"] = settings_json(job.train);
  out["student"] = nullptr;
  if (job.student)
    out["student"] = {{"model", job.student->model},
                      {"name", job.student->name},
                      {"licence", job.student->licence}};
  out["evaluate"] = nullptr;
  if (job.evaluate)
    out["evaluate"] = {{"texts", paths_json(job.evaluate->texts)},
                       {"rows", paths_json(job.evaluate->rows)}};
  if ((job.train || job.evaluate) && !job.student)
    fail(
        ErrorKind::kUsage, "distill",
        fmt::format("{}: 'student' is missing: which model is trained?", printable(path.string())));
  if (job.student) check_licences(job);
  if (job.student) check_student(job);
  if (job.evaluate) check_evaluated(job);
  if (job.evaluate && !job.train)
    fail(ErrorKind::kUsage, "distill",
         fmt::format("{}: evaluate compares before and after, and 'train' is missing",
                     printable(path.string())));
  return out;
}

}  // namespace lancet
