#pragma once
// Embeddings with a low-rank part: row t of W + scale (B A)^T, and with a magnitude m (DoRA) each
// column of that brought to a length m_j, the length taken as a constant. PEFT's lora.Embedding,
// except that every token learns, the padding token too.

#include <ATen/Tensor.h>

#include "model/linear.h"

namespace lancet {

/// rows [ids' shape, width], what the table alone says for ids (int64, on the CPU), in the dtype of
/// activations -> the same with the table's part. `table` is [vocab, width] as kInOut, its part
/// switched on. Differentiable with respect to the factors, and the same bits for any thread count
/// (on the CPU).
[[nodiscard]] at::Tensor adapt_embedded(const Linear& table, const at::Tensor& rows,
                                        const at::Tensor& ids);

}  // namespace lancet
