#pragma once
// Rows into batches: best-fit packing (rows behind one another up to a length) or padded batches.
// Pure functions of lengths and order: the same on every machine, rank and resume.
//
// Best-fit decreasing (Ding et al. 2024, arXiv:2404.10830): rows from the longest down, each into
// the fullest pack that still has room. Rows are never cut.

#include <cstdint>
#include <span>
#include <vector>

#include "core/json.h"
#include "distill/train/example.h"

namespace lancet {

/// `order`: the rows to be packed, each once, as Dataset::order() gives them; lengths[row] tokens.
/// Packs hold at most `capacity` tokens and come in the order of the row that stands first in
/// `order`; so do the rows of a pack. kUsage for a row longer than `capacity`.
[[nodiscard]] std::vector<Pack> pack_best_fit(std::span<const std::size_t> order,
                                              std::span<const std::uint32_t> lengths,
                                              std::int64_t capacity);

/// Batches of `rows` rows (the last may have fewer), in order.
[[nodiscard]] std::vector<Pack> batch_rows(std::span<const std::size_t> order,
                                           std::span<const std::uint32_t> lengths,
                                           std::int64_t rows);

/// Batches whose padded size (rows times the longest) is at most `tokens`, in order; rows of about
/// one length come together where they stand within `window` batches of each other. kUsage for a
/// row longer than `tokens`.
[[nodiscard]] std::vector<Pack> batch_tokens(std::span<const std::size_t> order,
                                             std::span<const std::uint32_t> lengths,
                                             std::int64_t tokens, std::size_t window = 32);

struct PackReport {
  std::size_t rows = 0, packs = 0;
  std::int64_t tokens = 0;  ///< real ones
  std::int64_t padded = 0;  ///< places computed if each pack is padded to its longest row
  double fill = 0;          ///< tokens / (packs * capacity): 1 is full
  double padding = 0;       ///< tokens / padded: what batches of the same rows would do
};
/// `capacity`: of pack_best_fit; for batches 0, and fill is then the same as padding.
[[nodiscard]] PackReport report_packs(std::span<const Pack> packs,
                                      std::span<const std::uint32_t> lengths,
                                      std::int64_t capacity);
[[nodiscard]] Json pack_json(const PackReport& report);

}  // namespace lancet
