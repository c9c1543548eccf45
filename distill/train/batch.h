#pragma once
// A micro-batch as the model sees it: texts one behind the other in one row, never padded.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "distill/losses/loss.h"
#include "distill/train/dataset.h"
#include "distill/train/example.h"

namespace lancet {

struct MicroBatch {
  at::Tensor ids;                      ///< int64 [1, tokens]
  std::vector<std::int64_t> segments;  ///< lengths of the texts
  std::vector<std::int64_t> rows;      ///< places in [0, tokens) that predict a target
  LossTargets targets;                 ///< of these rows; `reference` is still to be filled in
  std::vector<std::int64_t> lines;     ///< of the data, one for each text
  std::int64_t count = 0;              ///< what a loss divides by: rows, or pairs of texts
};

/// The rows of a pack; preferences as chosen and rejected in turn.
[[nodiscard]] MicroBatch make_batch(const Dataset& data, const Pack& pack, bool pairs);

/// These rows.
[[nodiscard]] MicroBatch make_batch(const std::vector<Example>& examples);

/// What a loss will divide by, without reading the rows: targets, or pairs.
[[nodiscard]] std::int64_t batch_count(const Dataset& data, const Pack& pack, bool pairs);

}  // namespace lancet
