#pragma once
// A line of training data as a trainer needs it, and what can be wrong with it before any token is
// known.

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "distill/rows/row.h"
#include "distill/train/dataset.h"

namespace lancet {

/// Why a row cannot be used. `reason` is one word of DatasetReport::problems.
struct RowProblem {
  std::string_view reason;
  std::string message;
};

/// One text to be learnt: a conversation, or a prompt and what follows it.
struct TrainingText {
  Json conversation;  ///< an array of messages or an object with them; null for plain text
  /// Of each assistant's message: "weight": 0, nothing of it counts. Empty: all count.
  std::vector<bool> masked;
  std::string prompt, completion;
};

struct TrainingRow {
  RowKind kind = RowKind::kUnknown;
  TrainingText text;         ///< of preferences the chosen one
  TrainingText rejected;     ///< of preferences only
  std::string_view teacher;  ///< JSON of member "teacher", or nothing
  std::string prompt;        ///< what the row answers: rows with equal ones are split together
};

/// Checks what needs no tokenizer: JSON, UTF-8, one kind that fits the need, known keys of row and
/// messages, known roles, weights of 0 or 1. Throws
/// RowProblem. `line` outlives the row. With `content` false only the checks are made.
[[nodiscard]] TrainingRow read_training_row(std::string_view line, const DatasetOptions& options,
                                            bool content);

}  // namespace lancet
