#pragma once
// How a model is loaded, from what the command line asks for.

#include <cstdint>
#include <string_view>

#include "formats/model_source.h"
#include "model/decoder.h"
#include "model/requests.h"

namespace lancet {

/// dtype, device and offload of `runtime`. kUsage for a word that is none of theirs, and for a GPU
/// beside offload.
[[nodiscard]] LoadOptions load_options(const RuntimeOptions& runtime);

/// kUsage for options that do not go together: what Decoder::load asks first.
void check_load_options(const LoadOptions& options);

/// How a tensor lies in memory: vectors of the CPU in float32; matrices there that the file has in
/// bfloat16 or float16 as they are in a model of float32, which takes half of the memory and of the
/// time to read them, and changes no bit: products widen them exactly.
[[nodiscard]] at::ScalarType dtype_in_memory(const ModelSource& source, const TensorInfo& tensor,
                                             const LoadOptions& options);

/// Weights in their files, and what of them memory holds once they are loaded (what a decoder has
/// no part for is not); from headers.
struct WeightSizes {
  std::uint64_t stored = 0, loaded = 0;  ///< bytes
};
[[nodiscard]] WeightSizes weight_sizes(const ModelSource& source, const LoadOptions& options);

}  // namespace lancet
