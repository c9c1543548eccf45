#pragma once
// The HTML report of a training run.

#include <string>
#include <vector>

#include "distill/train/log.h"

namespace lancet {

/// `records`: the lines of steps.jsonl.
[[nodiscard]] std::string train_page(const RunRecord& run, const std::vector<Json>& records);

}  // namespace lancet
