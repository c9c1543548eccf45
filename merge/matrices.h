#pragma once
// Methods on whole matrices: deltas into memory, a merged delta back into blocks, and the
// parameters that these methods share.

#include <string_view>
#include <vector>

#include "merge/task_vectors.h"

namespace lancet {

/// True for the weight matrix of a layer. Embeddings, heads, norms, biases and convolutions are
/// not: the papers take the mean of their deltas.
[[nodiscard]] bool is_matrix(const MergeTask& task);
/// w_i d_i of every model as [d_out, d_in], however the tensor is stored; `view` is that of the
/// task's method.
[[nodiscard]] std::vector<Matrix> read_deltas(const MergeTask& task, Method::View view,
                                              const std::vector<double>& weights);
/// The same with the weights of `factor_parameter`, in the view kDeltas.
[[nodiscard]] std::vector<Matrix> read_deltas(const MergeTask& task);
[[nodiscard]] Matrix sum_of(const std::vector<Matrix>& matrices);

/// x = b + scale * merged [d_out, d_in].
[[nodiscard]] Emit emit_matrix(const MergeTask& task, Matrix merged, double scale);
/// x = b + scale * mean of w_i d_i.
[[nodiscard]] Emit emit_mean(const MergeTask& task, double scale);

/// truncated_svd of each, side by side on threads.
[[nodiscard]] std::vector<Svd> svds_of(const Linalg& linalg, const std::vector<Matrix>& matrices,
                                       std::size_t rank, SvdMode mode);
/// Singular values above rounding: those that belong to the matrix itself.
[[nodiscard]] std::size_t numerical_rank(const Svd& svd);

inline constexpr std::string_view kSvdModes[] = {"auto", "exact", "randomized"};
/// In the order of SvdMode.
[[nodiscard]] constexpr MergeParameter svd_parameter() {
  return {.name = "svd",
          .kind = MergeParameter::Kind::kWord,
          .fallback = 0,
          .minimum = 0,
          .maximum = 2,
          .help = "auto: by a random range where few singular vectors of a large matrix are wanted",
          .choices = kSvdModes};
}
[[nodiscard]] inline SvdMode svd_mode(const MergeTask& task) {
  return static_cast<SvdMode>(static_cast<int>(task.number("svd")));
}

}  // namespace lancet
