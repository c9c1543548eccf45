#pragma once
// Loss of a model on rows of data: what `lancet distill`'s last stage compares before and after.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/json.h"

namespace lancet {

struct HeldOutRequest {
  std::filesystem::path model;  ///< any MODEL, also MODEL+ADAPTER
  std::vector<std::filesystem::path> rows;
  double eval_fraction = 0;  ///< 0: all rows, else those that `train` holds out of the same files
  std::int64_t max_length = 1024;
  std::string overlong = "truncate", bad_rows = "error";
  bool as_chat = false;
  std::vector<std::string> ignored_keys;
};

}  // namespace lancet
