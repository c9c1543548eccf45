#pragma once
// What plans tell of memory and time, from headers: estimates that were fitted to measured runs.

#include <cstdint>
#include <vector>

#include "formats/model_source.h"
#include "model/architecture.h"

namespace lancet {

/// Float operations a second that two ordinary cores reach in this work.
inline constexpr double kOperationsPerSecond = 1e11;
/// Program, libraries, tokenizer and the states of a few short texts.
inline constexpr std::uint64_t kEditingMemory = 230ULL << 20;

[[nodiscard]] std::uint64_t parameters_of(const ModelSource& source);

/// Bytes that an edit of `layers` holds of second moments: each matrix with its factor, and two
/// squares of the widest more while it is factored. Measured: within a fifth; a matrix of fewer
/// tokens than units takes a square more.
[[nodiscard]] std::uint64_t moments_memory(const DecoderSpec& spec,
                                           const std::vector<std::int64_t>& layers);
/// Of factoring them; `decomposed`: into eigenvectors (alphaedit).
[[nodiscard]] double moments_solve_seconds(const DecoderSpec& spec,
                                           const std::vector<std::int64_t>& layers,
                                           bool decomposed);
/// Of collecting them over `tokens`, each layer in a pass of its own, or all in one.
[[nodiscard]] double moments_collect_seconds(const ModelSource& source, const DecoderSpec& spec,
                                             const std::vector<std::int64_t>& layers, double tokens,
                                             bool one_pass);

}  // namespace lancet
