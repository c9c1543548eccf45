#pragma once
// The stages of a job file: which are there, which are up to date, and the running of the others.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "core/file.h"

namespace lancet {

/// synthesize, curate, train, evaluate.
[[nodiscard]] std::vector<std::string> distill_stages();

/// Runs the stages of a job (`only`: that one alone; empty: all) whose settings, inputs or outputs
/// have changed since they were done, or all with common.force. Everything in the job file is
/// checked before the first stage. With common.plan nothing runs. `file` is relative to the working
/// folder, and so are its paths. `seed` stands instead of the job's. Returns
/// {"job","output","stages":[{"stage","status","why", "seconds","result"}],"adapter"}.
[[nodiscard]] Json run_distillation(const fs::path& file, const std::string& only,
                                    std::optional<std::uint64_t> seed, const CommonOptions& common);

}  // namespace lancet
