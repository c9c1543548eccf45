#pragma once
// Steps between an OutputTensor's writer and the file: each streams in blocks of bounded size.

#include <cstdint>
#include <functional>
#include <vector>

#include "formats/containers/safetensors.h"

namespace lancet {

/// Largest block of decoded values held at once, in bytes of float32.
inline constexpr std::uint64_t kStageBytes = 16ULL << 20;

/// Rows [heads * head_dim, ...] from transformers' order to GGUF's (RowOrder in
/// formats/names/name_map.h).
[[nodiscard]] OutputTensor permute_rows_to_gguf(OutputTensor tensor, std::int64_t head_dim);

/// Row r to row `to_row(r)`; the whole tensor is held.
[[nodiscard]] OutputTensor reorder_rows(OutputTensor tensor,
                                        std::function<std::int64_t(std::int64_t)> to_row);

/// A matrix of a plain dtype with rows and columns exchanged; the whole of it is held.
[[nodiscard]] OutputTensor transpose_matrix(OutputTensor tensor);

/// Of a stack [experts, in, out * parts] of a plain dtype the columns part, part + parts, ... as
/// [experts, out, in]; of [experts, out * parts] as [experts, out]. One expert is held at a time.
[[nodiscard]] OutputTensor turn_experts(OutputTensor tensor, std::int64_t parts, std::int64_t part);

/// Of a matrix [heads * (keys + values), rank] of a plain dtype, the keys of every head transposed,
/// [heads, rank, keys], or `values`: [heads, values, rank].
[[nodiscard]] OutputTensor split_latent(OutputTensor tensor, std::int64_t heads, std::int64_t keys,
                                        bool values);

/// `change` of every float32 value.
[[nodiscard]] OutputTensor change_values(OutputTensor tensor, std::function<float(float)> change);

/// [parts, ...] of tensors with one shape and dtype; named as the first.
[[nodiscard]] OutputTensor stack_tensors(std::vector<OutputTensor> parts);

/// The same values in another dtype (a floating one, or Q8_0 where the element count fills blocks).
[[nodiscard]] OutputTensor convert_values(OutputTensor tensor, DType dtype);

/// float32 -> `dtype` on all threads; out.size() == dtype_bytes(dtype, in.size()).
void encode_parallel(DType dtype, std::span<const float> in, std::span<std::byte> out);

}  // namespace lancet
