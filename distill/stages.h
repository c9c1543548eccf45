#pragma once
// A job file as `lancet distill` needs it.

#include <filesystem>

#include "core/json.h"

namespace lancet {

/// Reads and checks JOB.yml. {"name", "seed", "output" (a folder), "rows": [paths] or null,
/// "accept_terms_risk", "synthesize": {"asks": what can move a byte of the dataset, "files": [paths
/// that it reads]} or null, "curate" and "train": [{"key","values","line","column"}] or null,
/// "student":
/// {"model","name","licence"} or null, "evaluate": {"texts","rows"} or null}. Paths are relative to
/// the job's folder where the file has them so. kUsage for an output that is no folder.
[[nodiscard]] Json describe_job(const std::filesystem::path& path);

}  // namespace lancet
