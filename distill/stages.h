#pragma once
// A job file as `lancet distill` needs it.

#include <cstdint>
#include <filesystem>
#include <optional>

#include "core/json.h"

namespace lancet {

/// Reads and checks JOB.yml. {"name", "seed", "output" (a folder), "rows": [paths] or null,
/// "accept_terms_risk", "synthesize": {"asks": what can move a byte of the dataset, "files": [paths
/// that it reads], "rows": their kind, "top_logprobs"} or null, "curate" and "train":
/// [{"key","values","line","column"}] or null, "student":
/// {"model","name","licence"} or null, "evaluate": {"texts","rows"} or null}. Paths are relative to
/// the job's folder where the file has them so. `seed` stands instead of the file's. kUsage for an
/// output that is no folder, kInput for files of `evaluate` that are not there.
[[nodiscard]] Json describe_job(const std::filesystem::path& path,
                                std::optional<std::uint64_t> seed = std::nullopt);

}  // namespace lancet
