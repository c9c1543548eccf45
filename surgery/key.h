#pragma once
// What the model holds at the subject's last token, and everything below the edit that v* needs
// only once: the residual stream leaving the edit layer from the subject's last token on, and the
// keys and values of the tokens before it in the layers above (causality: neither depends on the
// edit).

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"
#include "surgery/subject.h"

namespace lancet {

/// Rows that are computed together on one thread. Chunk borders depend on the number of rows only.
struct RowChunk {
  std::int64_t first = 0;             ///< index of its first row
  std::vector<std::int64_t> lengths;  ///< tokens of each tail: lookup ... end
  at::Tensor tail;                    ///< [rows, longest tail, d_model] leaving the edit layer
  std::unique_ptr<KvCache> prefix;    ///< layers above, tokens before lookup
};

struct RowStates {
  at::Tensor keys;    ///< [rows, key_width] input of the down projection (down.h) at lookup
  at::Tensor values;  ///< [rows, d_model] its output
  std::vector<RowChunk> chunks;
};

/// Rows [first, last) of one chunk.
using RowRange = std::pair<std::int64_t, std::int64_t>;

/// With `tails` false only keys and values are computed. `ranges`: consecutive chunks that cover
/// all rows; empty = row_chunks().
[[nodiscard]] RowStates read_rows(const Decoder& model, const std::vector<PromptRow>& rows,
                                  std::int64_t layer, bool tails = true,
                                  std::vector<RowRange> ranges = {});

/// Rows [first, last) of each chunk for `count` rows.
[[nodiscard]] std::vector<RowRange> row_chunks(std::int64_t count);

/// ids padded to the right with 0, int64 [rows, longest], and the true lengths.
[[nodiscard]] at::Tensor pad_rows(const std::vector<PromptRow>& rows, std::int64_t first,
                                  std::int64_t last, std::vector<std::int64_t>& lengths);

}  // namespace lancet
