#pragma once
// What the command line asks of `covariance`. No LibTorch here.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

struct CovarianceRequest {
  fs::path model;
  std::string layers;  ///< "5" or "4-8"
  // One of these three:
  std::vector<fs::path>
      texts;  ///< .jsonl ("text" of each line), else documents between empty lines
  std::int64_t self_generated = 0;  ///< tokens that the model writes itself
  std::vector<fs::path> imports;    ///< ROME's .npz, one for each layer, in any order

  fs::path out;                 ///< .safetensors
  std::optional<fs::path> npz;  ///< folder for ROME's .npz files
  std::int64_t window = 512;    ///< tokens at which a document is cut
  std::int64_t max_tokens = 0;  ///< 0 = the whole text
  bool plan = false;
  bool force = false;
};

}  // namespace lancet
