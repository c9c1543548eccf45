#pragma once
// One look at every row of some files: in parallel by batches, the results taken in order.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distill/rows/row_files.h"
#include "distill/train/training_row.h"

namespace lancet {

/// What a look at a row gave: bytes for the next stage, or what is wrong with it.
struct Seen {
  std::string_view line;
  std::uint64_t number = 0;  ///< of the line, in its batch
  std::uint32_t source = 0;
  std::string bytes;
  std::uint32_t tokens = 0, targets = 0, teacher_targets = 0;
  RowKind kind = RowKind::kUnknown;
  bool truncated = false;
  std::uint64_t prompt_hash = 0;
  std::optional<RowProblem> problem;
};

/// `look` fills a Seen and may throw RowProblem; any thread. `take(seen, line)` is called in the
/// order of the files for rows that are not blank, `line` from 1. Stops at Ctrl-C.
void scan_rows(const RowFiles& files, std::string_view label,
               const std::function<void(Seen& seen)>& look,
               const std::function<void(Seen& seen, std::uint64_t line)>& take);

}  // namespace lancet
