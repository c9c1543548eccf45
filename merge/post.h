#pragma once
// What a recipe may do to the merged delta, whatever the method that made it:
//   post: svc                 calibration of singular values     arXiv:2602.05536
//     delta = sum_r s_r u_r v_r^T,  p_r^i = u_r^T d_i,  c_r^i = <s_r v_r, p_r^i> / |p_r^i|^2
//     s_r <- s_r N / sum_i max(alpha, c_r^i)      alpha = 1: directions that several models share
//                                                 and that the merge counts more than once shrink
//   post: subspace_boosting   arXiv:2506.16506
//     s_r <- max(s_r, s_c),  c the first with s_1 + ... + s_c >= threshold * sum of all s
//   lines: {alpha, beta}      LiNeS, arXiv:2410.17146
//     delta <- (alpha + beta l / (L - 1)) delta   l = 0 for the first of L layers and what comes
//                                                 before it, L - 1 for the last and what comes
//                                                 after
// Spectral ones act on weight matrices, in the order above; embeddings, heads and vectors stay as
// merged. Singular values that are rounding alone (numerical_rank) stay as they are. Float64.

#include "merge/recipe.h"
#include "merge/task.h"

namespace lancet {

/// `emit` (of `method`, for `task`) with the spectral parts of `post`.
[[nodiscard]] Emit apply_post(const MergeTask& task, const Method& method, const RecipePost& post,
                              Emit emit);
/// b + factor (x - b).
[[nodiscard]] Emit scale_delta(Emit emit, double factor);

}  // namespace lancet
