// ResMerge: residual-consensus merging. arXiv:2606.02252.
//   d_i = x_i - b = H_i + R_i                    H_i the first `head` singular triplets
//   q   = sum_i R_i/|R_i| normalised,  c = mean_i <R_i/|R_i|, q>,  s = mean over pairs of
//         <R_i/|R_i|, R_j/|R_j|>
//   score = ((s + 1)/2 + (c + 1)/2) / 2,  beta = beta_max - (beta_max - beta_min) score
//   A   = c^beta mean_i|R_i| q                   where c > 1/sqrt(N), else mean_i R_i
//   S_H = mean over pairs of max(0, cos(H_i, H_j)),  H = mean_i H_i
//   C   = rho S_H |A| H/|H|
//   x   = b + lambda (A + C)                     embeddings, heads, vectors: lambda mean_i d_i
// One model: s = S_H = 1. A residual or head of zeros has no direction and counts with cosine 0.
// Inner products are the Frobenius ones; A and C are combinations of the inputs. Float64.
#include <algorithm>
#include <cmath>

#include "merge/matrices.h"
#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "head",
     .kind = MergeParameter::Kind::kInteger,
     .fallback = 1,
     .minimum = 1,
     .maximum = 1e6,
     .help = "singular triplets that are held apart"},
    {.name = "beta_min",
     .fallback = 0.7,
     .minimum = 0,
     .maximum = 100,
     .help = "exponent of the consensus where all agree"},
    {.name = "beta_max",
     .fallback = 1,
     .minimum = 0,
     .maximum = 100,
     .help = "exponent of the consensus where none agree"},
    {.name = "rho", .fallback = 0.2, .minimum = 0, .maximum = 100, .help = "share of the heads"},
    lambda_parameter(),
    svd_parameter(),
};

std::vector<ops::In> spans_of(const std::vector<Matrix>& matrices) {
  std::vector<ops::In> out;
  out.reserve(matrices.size());
  for (const Matrix& matrix : matrices) out.emplace_back(matrix.values);
  return out;
}

double cosine(const ops::Gram& gram, std::size_t i, std::size_t j) {
  const double norms = gram.norm(i) * gram.norm(j);
  return norms > 0 ? std::clamp(gram.at(i, j) / norms, -1.0, 1.0) : 0.0;
}

/// Mean of f(cos) over pairs; 1 where there are none.
template <typename F>
double mean_of_pairs(const ops::Gram& gram, const F& f) {
  double sum = 0, pairs = 0;
  for (std::size_t i = 0; i < gram.size(); ++i) {
    for (std::size_t j = i + 1; j < gram.size(); ++j, ++pairs) sum += f(cosine(gram, i, j));
  }
  return pairs > 0 ? sum / pairs : 1.0;
}

struct Consensus {
  double c = 0, s = 0, beta = 0;
  std::vector<double> weights;  ///< A = sum_i weights_i R_i
};

Consensus consensus_of(const MergeTask& task, const ops::Gram& gram) {
  const std::size_t n = gram.size();
  const auto count = static_cast<double>(n);
  std::vector<double> units(n);
  double mean_norm = 0;
  for (std::size_t i = 0; i < n; ++i) {
    units[i] = gram.norm(i) > 0 ? 1 / gram.norm(i) : 0;
    mean_norm += gram.norm(i) / count;
  }
  const double length = std::sqrt(std::max(0.0, gram.dot(units, units)));
  Consensus out;
  out.c = length / count;  // mean_i <u_i, sum u / length>
  out.s = mean_of_pairs(gram, [](double cosine) { return cosine; });
  const double score = ((out.s + 1) / 2 + (out.c + 1) / 2) / 2;
  const double most = task.number("beta_max");
  out.beta = most - (most - task.number("beta_min")) * score;
  if (!(out.c > 1 / std::sqrt(count)) && n > 1) {
    out.weights.assign(n, 1 / count);
    return out;
  }
  out.weights = units;
  const double factor = length > 0 ? std::pow(out.c, out.beta) * mean_norm / length : 0;
  for (double& weight : out.weights) weight *= factor;
  return out;
}

Matrix merged(const MergeTask& task) {
  const Linalg& linalg = task.linalg();
  const std::vector<double> ones(task.models(), 1.0);
  std::vector<Matrix> residuals = read_deltas(task, Method::View::kDeltas, ones), heads;
  const auto rank = static_cast<std::size_t>(task.number("head"));
  std::vector<Svd> svds = svds_of(linalg, residuals, rank, svd_mode(task));
  for (std::size_t i = 0; i < svds.size(); ++i) {
    Svd& svd = svds[i];
    Matrix& residual = residuals[i];
    scale_columns(svd.left, svd.values);
    heads.push_back(linalg.multiply(svd.left, svd.right));
    const double before = squared_norm(residual);
    add_scaled(residual, heads.back(), -1);
    // What rounding leaves of a matrix that is its head is no residual.
    if (squared_norm(residual) <= 1e-28 * before) ops::fill(residual.values, 0);
  }
  const Consensus agreed = consensus_of(task, ops::gram_of(spans_of(residuals)));
  Matrix out(residuals[0].rows, residuals[0].columns);
  for (std::size_t i = 0; i < residuals.size(); ++i)
    add_scaled(out, residuals[i], agreed.weights[i]);
  const double shared =
      mean_of_pairs(ops::gram_of(spans_of(heads)), [](double c) { return std::max(0.0, c); });
  const Matrix head = sum_of(heads);
  const double size = std::sqrt(squared_norm(head));
  if (size > 0)
    add_scaled(out, head, task.number("rho") * shared * std::sqrt(squared_norm(out)) / size);
  return out;
}

Emit prepare(const MergeTask& task) {
  const double lambda = task.number("lambda");
  if (is_matrix(task)) return emit_matrix(task, merged(task), lambda);
  return [lambda](const Block& block, ops::Out out) {
    const std::size_t n = block.models.size();
    const std::vector<double> shares(n, lambda / static_cast<double>(n));
    ops::weigh(out, block.models, shares, 1, block.base);
  };
}

}  // namespace

extern const Method merge_method_resmerge;
const Method merge_method_resmerge{
    .name = "resmerge",
    .title = "ResMerge: consensus of what is left without the first singular vectors",
    .paper = "arXiv:2606.02252",
    .base = BaseUse::kRequired,
    .parameters = kParameters,
    .view = Method::View::kDeltas,
    .needs_linalg = true,
    .whole_tensors = 3,
    .prepare = prepare};

}  // namespace lancet
