// Model Stock. Jang et al. 2024, arXiv:2403.19522.
//   d_i = x_i - b,  c = mean over pairs of cos(d_i, d_j)          [whole tensor, or each row with
//   filter_wise] t   = N c / (1 + (N - 1) c) x   = t mean_i x_i + (1 - t) b
// mergekit lets t leave [0, 1] (c < 0 throws the result far outside the models) and floors
// |d_i||d_j| at 1e-6, which takes c of small tensors down to nothing. Both only with its semantics:
// here t is clamped and cosines are true. Precision: float64.
#include <algorithm>
#include <cmath>

#include "merge/ops/gram.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "filter_wise",
     .kind = MergeParameter::Kind::kFlag,
     .fallback = 0,
     .minimum = 0,
     .maximum = 1,
     .help = "one t for each row instead of one for the tensor"},
};

constexpr double kMergekitFloor = 1e-6;

double pair_cosine(const ops::Gram& gram, std::size_t i, std::size_t j, bool mergekit) {
  const double norms = gram.norm(i) * gram.norm(j);
  if (!mergekit && norms == 0) return 0;
  return std::clamp(gram.at(i, j) / (mergekit ? std::max(norms, kMergekitFloor) : norms), -1.0,
                    1.0);
}

/// t / N: the coefficient of every delta.
double share_of(const ops::Gram& gram, bool mergekit) {
  const std::size_t n = gram.size();
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) sum += pair_cosine(gram, i, j, mergekit);
  }
  const double count = static_cast<double>(n);
  const double c = sum / (count * (count - 1) / 2);
  const double divisor = 1 + (count - 1) * c;
  double t = std::fabs(divisor) < kMergekitFloor ? 0 : count * c / divisor;
  if (!mergekit) t = c <= 0 ? 0 : std::min(t, 1.0);
  return t / count;
}

void combine_deltas(ops::Out out, const std::vector<ops::Out>& deltas, ops::In base, double share) {
  ops::weigh(out, deltas, std::vector<double>(deltas.size(), share), 1, base);
}

Emit prepare(const MergeTask& task) {
  const bool mergekit = task.semantics() == Semantics::kMergekit;
  if (!task.flag("filter_wise")) {
    return [share = share_of(ops::gram_of(task), mergekit)](const Block& block, ops::Out out) {
      combine_deltas(out, block.models, block.base, share);
    };
  }
  return [mergekit, width = task.width()](const Block& block, ops::Out out) {
    for (std::size_t at = 0; at < block.size; at += width) {
      std::vector<ops::Out> rows;
      for (const ops::Out& model : block.models) rows.push_back(model.subspan(at, width));
      const double share = share_of(ops::gram_of({rows.begin(), rows.end()}), mergekit);
      combine_deltas(out.subspan(at, width), rows, block.base.subspan(at, width), share);
    }
  };
}

}  // namespace

extern const Method merge_method_model_stock;
const Method merge_method_model_stock{
    .name = "model_stock",
    .title = "Mean of models drawn back to the base by their disagreement",
    .paper = "arXiv:2403.19522",
    .base = BaseUse::kRequired,
    .min_models = 2,
    .parameters = kParameters,
    .unit = Method::Unit::kRows,
    .view = Method::View::kDeltas,
    .laws = {.scales = true},
    .prepare = prepare};

}  // namespace lancet
