#pragma once
// Attribution patching (Nanda 2023; Syed et al. 2023, arXiv:2310.10348): a first-order estimate of
// what restoring a clean state does, for every token, layer and kind from one backward pass:
//   effect(token, layer) = mean over samples of (clean - corrupted) . d p(target) / d state,
// the gradient taken at the corrupted run (steps = 1), or averaged over runs whose subject
// embeddings lie at the fractions (i + 1/2) / steps between corrupted and clean (integrated
// gradients; Hanna et al. 2024, arXiv:2403.17806).

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "surgery/locate/runs.h"
#include "surgery/locate/trace.h"

namespace lancet {

struct Attribution {
  TraceKind kind = TraceKind::kHidden;  ///< hidden, mlp or attention
  at::Tensor effect;                    ///< float64 [tokens, layers], in units of p(target)
};

/// One map for each of hidden, mlp and attention. `steps` >= 1 backward passes over all samples.
[[nodiscard]] std::vector<Attribution> attribute_states(const Decoder& model,
                                                        const LocatePrompt& prompt,
                                                        const Runs& runs, std::int64_t steps);

/// How two maps agree over their cells: Pearson's correlation, Spearman's of the ranks, and the
/// share of the `top` largest cells of one that are among those of the other. NaN where a map is
/// constant.
struct Agreement {
  double pearson = 0, spearman = 0, top_overlap = 0;
};
[[nodiscard]] Agreement agreement(const at::Tensor& a, const at::Tensor& b, std::int64_t top = 10);

}  // namespace lancet
