// lancet distill: synthesize, curate, train and evaluate as one job file says, each stage only when
// something that it depends on has changed.

#include <CLI/CLI.hpp>

#include "cli/distillation.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

struct DistillArguments {
  std::string job, stage;
  CLI::App* app = nullptr;
};

/// The job's folder as working folder while it lives: paths of the file are relative to it.
class InFolder {
 public:
  explicit InFolder(const fs::path& folder) : before_(fs::current_path()) {
    if (!folder.empty()) fs::current_path(folder);
  }
  ~InFolder() {
    std::error_code ignored;
    fs::current_path(before_, ignored);
  }
  InFolder(const InFolder&) = delete;
  InFolder& operator=(const InFolder&) = delete;

 private:
  fs::path before_;
};

std::string result_text(const Json& result) {
  Table table({{"stage"}, {"status"}, {"seconds", Table::Align::kRight}, {"why"}});
  std::string after;
  for (const Json& stage : result["stages"]) {
    table.add(
        {stage["stage"], stage["status"],
         stage.contains("seconds") ? fmt::format("{:.1f}", stage["seconds"].get<double>()) : "",
         stage.value("why", "")});
    if (stage["stage"] != "evaluate" || !stage.contains("result")) continue;
    const Json& found = stage["result"];
    for (const Json& each : found["perplexity"])
      after += fmt::format("perplexity of {}: {:.3f} before, {:.3f} after\n",
                           fs::path(each["text"].get<std::string>()).filename().string(),
                           each["before"].get<double>(), each["after"].get<double>());
    if (!found["held_out"].is_null())
      after +=
          fmt::format("held-out loss of {} rows: {:.4f} before, {:.4f} after\n",
                      found["held_out"]["rows"].dump(), found["held_out"]["before"].get<double>(),
                      found["held_out"]["after"].get<double>());
  }
  return table.text() + after + fmt::format("in {}\n", result["output"].get<std::string>());
}

int run(const DistillArguments& a, const CommonOptions& common) {
  const fs::path file = fs::absolute(a.job);
  if (!fs::exists(file))
    fail(ErrorKind::kInput, "distill", fmt::format("'{}' does not exist", printable(a.job)));
  const InFolder folder(file.parent_path());
  const bool seeded = a.app->count("--seed") > 0;
  const Json result = run_distillation(
      file.filename(), a.stage, seeded ? std::optional(common.runtime.seed) : std::nullopt, common);
  if (common.json) {
    print_json(result);
  } else {
    print_text(result_text(result));
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<DistillArguments>();
  a->app = &app;
  app.add_option("JOB", a->job,
                 "A job file with the blocks teacher, data, curate, student, train, "
                 "evaluate, output (docs/training.md)")
      ->required();
  app.add_option("--stage", a->stage, "Only this one: synthesize, curate, train or evaluate")
      ->check(CLI::IsMember(distill_stages()));
  return [a, &common] { return run(*a, common); };
}

}  // namespace

extern const Command command_distill{
    .name = "distill",
    .group = "Distillation",
    .summary = "A whole job: synthesize, curate, train, evaluate; what is up to date is left alone",
    .examples =
        "  lancet distill job.yml --plan\n"
        "  lancet distill job.yml --stage train",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
