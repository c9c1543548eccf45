#pragma once
// The questions of a test set, for decontamination.

#include <string>
#include <vector>

#include "core/file.h"

namespace lancet {

struct TestItem {
  std::string place;  ///< "FILE:LINE"
  std::string text;
};

/// *.jsonl and *.json with one row a line: the first of question, problem, instruction, input,
/// query, else the prompt side of a known kind; anything else: a line is an item. Error(kInput) for
/// a row in which no question is found, by line.
[[nodiscard]] std::vector<TestItem> read_test_set(const fs::path& path);

}  // namespace lancet
