#pragma once
// The down projection of a layer as editors see it: one matrix W [d_model, width] that answers the
// layer's key. Of a layer of experts it is [W_0 | W_1 | ...], the matrices of all routed experts
// side by side, and the key is Decoder::expert_keys: a rank-one change of it spreads over the
// experts that the token is routed to, each by its weight in the sum; the others keep their
// columns.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace lancet {

/// A matrix and the columns of W that it holds: [first, first + width).
struct DownPart {
  MatrixRef matrix;
  std::int64_t first = 0, width = 0;
};

/// One part, or one for each routed expert. kMismatch where there is no MLP, or where experts share
/// one tensor, which no delta tells the parts of.
[[nodiscard]] std::vector<DownPart> down_parts(const Decoder& model, std::int64_t layer);

/// Columns of W: d_ff, or experts * d_ff.
[[nodiscard]] std::int64_t key_width(const DecoderSpec& spec, std::int64_t layer);
[[nodiscard]] std::int64_t key_width(const Decoder& model, std::int64_t layer);
/// kResource where second moments of the layer's keys would take more than 8 GiB: those of all
/// experts together grow with the square of their number.
void check_key_width(const DecoderSpec& spec, std::int64_t layer);

/// Where a hook finds what the layer's keys are made of, and the keys of rows taken there
/// [rows, ...] -> [rows, width].
[[nodiscard]] Place key_place(const Decoder& model, std::int64_t layer);
[[nodiscard]] at::Tensor keys_at(const Decoder& model, std::int64_t layer, const at::Tensor& rows);

}  // namespace lancet
