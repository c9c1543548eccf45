// Localize-and-Stitch without data. He et al. 2024, arXiv:2408.13656.
//   d_i = x_i - b                                                          [the whole model]
//   M_i = the `keep` share of all elements of the model with the largest |d_i|
//   x   = b + lambda mean of d_i over the models with M_i                  b where none has
// One threshold a model, found over all tensors before the first is merged; where `keep` differs
// between tensors, each adds its share to the number that is kept. Elements equal to the threshold
// are kept, so that the order of tensors does not matter. Precision: float64; magnitudes are ranked
// as float32.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "merge/ops/elements.h"
#include "merge/ops/keys.h"
#include "merge/task_vectors.h"

namespace lancet {
namespace {

constexpr MergeParameter kParameters[] = {
    {.name = "keep",
     .fallback = 0.1,
     .minimum = 0,
     .maximum = 1,
     .per_model = true,
     .help = "share of the model's elements that is stitched in"},
    lambda_parameter(),
};

constexpr std::uint32_t kLowBits = 15;  ///< of the 31 of a magnitude's key
using Counts = std::vector<std::uint64_t>;

/// Search for the smallest key that is kept, of one model.
struct Threshold {
  double wanted = 0;       ///< elements, summed over tensors
  std::uint64_t rank = 0;  ///< of the last one kept: 0 is the largest; then inside its bin
  std::uint32_t high = 0;  ///< the key without its low bits, once they are known
  bool none = false;
};

/// counts[model][bin] over all tensors, bins of 2^shift keys from the model's `high` on.
std::vector<Counts> count_bins(const MergeTasks& tasks, const std::vector<Threshold>& thresholds,
                               std::size_t bins, std::uint32_t shift) {
  const std::size_t models = thresholds.size();
  std::vector<Counts> total(models, Counts(bins));
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    tasks.visit(t, [&](const MergeTask& task) {
      const auto found = task.scan<std::vector<Counts>>(
          [&] { return std::vector<Counts>(models, Counts(bins)); },
          [&](const Block& block, std::vector<Counts>& counts) {
            for (std::size_t i = 0; i < models; ++i) {
              ops::magnitude_keys(block.keys, block.models[i]);
              ops::count_keys(counts[i], block.keys, thresholds[i].high, shift);
            }
          });
      for (const auto& counts : found) {
        for (std::size_t i = 0; i < models; ++i)
          std::ranges::transform(total[i], counts[i], total[i].begin(), std::plus<>());
      }
    });
  }
  return total;
}

std::vector<Threshold> wanted_counts(const MergeTasks& tasks) {
  std::vector<Threshold> out;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    tasks.visit(t, [&](const MergeTask& task) {
      if (t == 0) out.resize(task.models());
      if (task.models() != out.size()) {
        fail(ErrorKind::kUsage, "merge",
             fmt::format("stitch: expected as many models for every tensor, found {} and {}",
                         out.size(), task.models()),
             "its threshold is one for the whole model: list models instead of slices");
      }
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i].wanted += task.number("keep", i) * static_cast<double>(task.elements());
    });
  }
  for (Threshold& each : out) {
    const auto count = static_cast<std::uint64_t>(each.wanted);
    each.none = count == 0;
    each.rank = each.none ? 0 : count - 1;
  }
  return out;
}

/// The smallest kept key of each model; above every key where nothing is kept.
std::vector<double> survey(const MergeTasks& tasks) {
  constexpr std::size_t kHighBins = 1U << 16, kLowBins = 1U << kLowBits;
  std::vector<Threshold> thresholds = wanted_counts(tasks);
  const std::vector<Counts> high = count_bins(tasks, thresholds, kHighBins, kLowBits);
  for (std::size_t i = 0; i < thresholds.size(); ++i)
    thresholds[i].high = ops::bin_of_rank(high[i], thresholds[i].rank) << kLowBits;
  const std::vector<Counts> low = count_bins(tasks, thresholds, kLowBins, 0);
  std::vector<double> keys;
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    const std::uint32_t bin = ops::bin_of_rank(low[i], thresholds[i].rank);
    keys.push_back(static_cast<double>(thresholds[i].none ? UINT32_MAX : thresholds[i].high + bin));
  }
  return keys;
}

Emit prepare(const MergeTask& task) {
  return [least = task.survey(), lambda = task.number("lambda")](const Block& block, ops::Out out) {
    const ops::Out count = block.scratch[0];
    ops::fill(out, 0);
    ops::fill(count, 0);
    for (std::size_t i = 0; i < least.size(); ++i) {
      ops::magnitude_keys(block.keys, block.models[i]);
      ops::add_from_key(out, count, block.models[i], block.keys, least[i]);
    }
    ops::divide_nonzero(out, count);
    ops::scale(out, lambda);
    ops::add(out, block.base);
  };
}

}  // namespace

extern const Method merge_method_stitch;
const Method merge_method_stitch{.name = "stitch",
                                 .title = "Localize-and-Stitch: the model's largest changes alone",
                                 .paper = "arXiv:2408.13656",
                                 .base = BaseUse::kRequired,
                                 .parameters = kParameters,
                                 .view = Method::View::kDeltas,
                                 .survey = survey,
                                 .prepare = prepare};

}  // namespace lancet
