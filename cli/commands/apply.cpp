// lancet apply: write a model with the edits of delta files.

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "cli/run_plan.h"
#include "merge/estimate.h"
#include "surgery/files/apply.h"

namespace lancet {
namespace {

struct ApplyCommand {
  std::string model, out;
  std::vector<std::string> deltas;
};

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<ApplyCommand>();
  app.add_option("MODEL", o->model, "The model that the deltas were computed on")->required();
  app.add_option("F", o->deltas, "Delta files, in order")->required();
  app.add_option("-o,--out", o->out, "Where to write")->required();
  return [o, &common] {
    ApplyOptions options{.force = common.force,
                         .plan = common.plan,
                         .dtype = {},
                         .command = command_json("apply", common)};
    if (common.runtime.dtype != "auto") options.dtype = parse_dtype(common.runtime.dtype);
    Json result = apply_delta(o->model, {o->deltas.begin(), o->deltas.end()}, o->out, options);
    if (common.plan) result["seconds"] = writing_seconds(o->out, result["bytes"]);
    const std::string costs =
        common.plan
            ? fmt::format("; {}, memory {}, time {}", human_bytes(result["bytes"]),
                          about_bytes(result["peak_memory"]), about_seconds(result["seconds"]))
            : "";
    common.json
        ? print_json(result)
        : print_text(fmt::format("{} {} edit(s) in {} tensor(s): {}{}\n",
                                 common.plan ? "would write" : "wrote", result["edits"].size(),
                                 result["tensors"].size(), o->out, costs));
    return 0;
  };
}

}  // namespace

extern const Command command_apply{
    .name = "apply",
    .group = "Surgery",
    .summary = "Write a model with the edits of delta files",
    .examples =
        "  lancet apply model/ facts.delta.safetensors -o edited/\n"
        "  lancet apply model/ monday.safetensors tuesday.safetensors -o edited/ --plan",
    .dtype = kWritten,
    .declare = declare};

}  // namespace lancet
