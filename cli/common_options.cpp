#include "cli/common_options.h"

namespace lancet {
namespace {

void declare_model(CLI::Option_group& group, CommonOptions& common) {
  group
      .add_option("--offload", common.runtime.offload,
                  "disk: leave the matrices of a model that runs in its files and read them as "
                  "they are used, for models larger than memory; none (default)")
      ->check(CLI::IsMember({"none", "disk"}));
  group
      .add_option(
          "--activations", common.runtime.activations,
          "bfloat16: beside --dtype bfloat16, round what is multiplied with the weights as "
          "PyTorch does, up to three times as fast where the processor multiplies such numbers; "
          "float32: exact, with the same bits on every processor; auto (default): exact, on the "
          "CPU by the fastest way")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}));
}

}  // namespace

void declare_common(CLI::App& app, const Command& command, CommonOptions& common) {
  auto* group = app.add_option_group("Common options");
  group->add_flag("--json", common.json, "Exactly one JSON document on standard output");
  group->add_flag("--plan", common.plan,
                  "Say what would be done, from headers only; write nothing");
  group->add_flag("--force", common.force, "Replace an existing output");
  group->add_option("--seed", common.runtime.seed, "Seed of every random choice (default 0)");
  group->add_option("--threads", common.runtime.threads, "Threads, 0 = all processors")
      ->check(CLI::Range(0, 4096));
  group->add_option("--device", common.runtime.device,
                    "auto, cpu, cuda (several where one is too small) or cuda:N (default auto)");
  group->add_option("--dtype", common.runtime.dtype,
                    "float32, bfloat16 or float16: of the computation, or of what is written");
  if (command.runs_model) declare_model(*group, common);
  group->add_option("--memory", common.memory, "Bound on working memory (default 1GiB)");
  group->add_flag("--quiet", common.quiet, "No notes and no progress on standard error");
  group->add_flag("--verbose", common.verbose, "More notes on standard error");
  group->add_flag("--no-progress", common.no_progress, "No progress bar");
}

}  // namespace lancet
