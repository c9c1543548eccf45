// KnOTS: merging in the basis that the changes share. Stoica et al. 2024, arXiv:2410.19735.
//   d_i = x_i - b                                [d_out, d_in], N models, mostly model+adapter
//   [d_1 .. d_N] = U S [V_1 .. V_N]              the first `rank` triplets, or all above rounding
//   V   = inner merge of the V_i, weighted       TIES in the paper
//   x   = b + lambda U S V
// Embeddings, heads, vectors: x = b + lambda mean_i w_i d_i. `adapter combine --method knots` gives
// the same from factors alone, as an adapter. core_space has no such form: its bases are those of
// the factors, which a change does not tell. Precision: float64.
#include "merge/inner.h"
#include "merge/matrices.h"

namespace lancet {
namespace {

constexpr std::string_view kInner[] = {"ties", "task_arithmetic", "dare_ties", "magmax"};

constexpr MergeParameter kParameters[] = {
    factor_parameter(),
    density_parameter(),
    lambda_parameter(),
    {.name = "inner",
     .kind = MergeParameter::Kind::kWord,
     .fallback = 0,
     .minimum = 0,
     .maximum = 3,
     .help = "the merge of the right singular vectors",
     .choices = kInner},
    {.name = "rank",
     .kind = MergeParameter::Kind::kInteger,
     .fallback = 0,
     .minimum = 0,
     .maximum = 65536,
     .help = "triplets of the shared basis, 0 for all; the sum of the adapters' ranks is enough"},
    svd_parameter(),
};

Svd shared_basis(const MergeTask& task, const Matrix& all) {
  const auto rank = static_cast<std::size_t>(task.number("rank"));
  if (rank == 0) return task.linalg().svd(all);
  return truncated_svd(task.linalg(), all, rank, svd_mode(task));
}

Matrix merged(const MergeTask& task) {
  const std::vector<Matrix> deltas =
      read_deltas(task, Method::View::kDeltas, std::vector<double>(task.models(), 1.0));
  const std::size_t width = deltas[0].columns;
  Svd svd = shared_basis(task, beside(deltas));
  const std::size_t rank = numerical_rank(svd);
  if (rank == 0) return Matrix(deltas[0].rows, width);
  Matrix left = columns_of(svd.left, 0, rank);
  scale_columns(left, std::span(svd.values).first(rank));
  const Matrix right = rows_of(svd.right, 0, rank);
  std::vector<Matrix> parts;
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    parts.push_back(columns_of(right, i * width, (i + 1) * width));
    // What rounding leaves of a model without a change would have signs.
    if (squared_norm(deltas[i]) == 0) ops::fill(parts.back().values, 0);
  }
  const InnerMerge inner{
      .method = find_merge_method(kInner[static_cast<std::size_t>(task.number("inner"))]),
      .value =
          [&](const MergeParameter& parameter, std::size_t model) {
            const bool own = parameter.name == "weight" || parameter.name == "density";
            return own ? task.number(parameter.name, model) : parameter.fallback;
          },
      .linalg = &task.linalg(),
      .semantics = task.semantics(),
      .seed = task.seed()};
  return task.linalg().multiply(left, merge_matrices(inner, task.name(), parts));
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  return is_matrix(task) ? emit_matrix(task, merged(task), lambda) : emit_mean(task, lambda);
}

}  // namespace

extern const Method merge_method_knots;
const Method merge_method_knots{
    .name = "knots",
    .title = "KnOTS: adapters' changes merged in the basis that they share",
    .paper = "arXiv:2410.19735",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .needs_linalg = true,
    .whole_tensors = 4,
    .prepare = prepare};

}  // namespace lancet
