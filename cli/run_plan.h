#pragma once
// --plan of commands that run a model and write nothing, or only what the run says.

#include "cli/command.h"

namespace lancet {

/// Prints what running `model` would hold in memory, from its headers. Returns the exit code.
[[nodiscard]] int print_run_plan(const fs::path& model, const CommonOptions& common);

}  // namespace lancet
