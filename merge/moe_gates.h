#pragma once
// Rows of routers made from prompts.
//   cheap_embed  g_e = p/|p| - n/|n|, the sums over positive and negative prompts of the base's
//                embeddings of their tokens: the same in every layer
//   hidden       g_e = mean over positive prompts of what enters the layer, less that of negative
//   ones
// each divided by its norm.

#include <functional>
#include <string>
#include <vector>

#include "merge/linalg.h"
#include "merge/moe.h"

namespace lancet {

/// For each prompt [layers, d_model]: the states of the base that enter every layer, of the last
/// token or averaged over the tokens. The engine's.
using PromptStates =
    std::function<std::vector<Matrix>(const std::vector<std::string>& prompts, bool average)>;

/// [1][experts, then shared ones][d_model]. kMismatch without a tokenizer or with ids beyond the
/// embedding; kNumeric where an expert's rows sum to zero.
[[nodiscard]] GateRows cheap_embed_gates(const MoeRecipe& recipe, const MergeInput& base);
/// [layers][experts, then shared ones][d_model].
[[nodiscard]] GateRows hidden_gates(const MoeRecipe& recipe, std::size_t layers, std::size_t width,
                                    const PromptStates& states);

/// A warning for each layer's worst pair of experts whose rows are nearly one: the router cannot
/// tell them apart (two of them have a condition number above 5).
void warn_of_equal_gates(const GateRows& gates, std::size_t experts,
                         std::vector<std::string>& warnings);

}  // namespace lancet
