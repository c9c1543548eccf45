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
  std::uint32_t high = 0;  ///< upper bits of the key
  bool none = false;
};

/// counts[model][bin] over all tensors; bin_of(key, model) < bins, or bins for "not counted".
template <typename BinOf>
std::vector<Counts> count_keys(const MergeTasks& tasks, std::size_t models, std::size_t bins,
                               const BinOf& bin_of) {
  std::vector<Counts> total(models, Counts(bins + 1));
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    tasks.visit(t, [&](const MergeTask& task) {
      const auto found = task.scan<std::vector<Counts>>(
          [&] { return std::vector<Counts>(models, Counts(bins + 1)); },
          [&](const Block& block, std::vector<Counts>& counts) {
            for (std::size_t i = 0; i < models; ++i) {
              ops::magnitude_keys(block.keys, block.models[i]);
              for (const std::uint32_t key : block.keys) ++counts[i][bin_of(key, i)];
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

/// The bin that holds rank `rank` from the top; `rank` becomes the rank inside it.
std::uint32_t bin_of_rank(const Counts& counts, std::size_t bins, std::uint64_t& rank) {
  for (std::size_t bin = bins; bin-- > 0;) {
    if (rank < counts[bin]) return static_cast<std::uint32_t>(bin);
    rank -= counts[bin];
  }
  return 0;
}

/// The smallest kept key of each model; above every key where nothing is kept.
std::vector<double> survey(const MergeTasks& tasks) {
  constexpr std::size_t kHighBins = 1U << 16, kLowBins = 1U << kLowBits;
  std::vector<Threshold> thresholds = wanted_counts(tasks);
  const std::size_t models = thresholds.size();
  const auto high = count_keys(tasks, models, kHighBins,
                               [](std::uint32_t key, std::size_t) { return key >> kLowBits; });
  for (std::size_t i = 0; i < models; ++i)
    thresholds[i].high = bin_of_rank(high[i], kHighBins, thresholds[i].rank);
  const auto low =
      count_keys(tasks, models, kLowBins, [&](std::uint32_t key, std::size_t i) -> std::size_t {
        return key >> kLowBits == thresholds[i].high ? key & (kLowBins - 1) : kLowBins;
      });
  std::vector<double> keys;
  for (std::size_t i = 0; i < models; ++i) {
    const std::uint32_t bin = bin_of_rank(low[i], kLowBins, thresholds[i].rank);
    keys.push_back(thresholds[i].none
                       ? static_cast<double>(UINT32_MAX)
                       : static_cast<double>((thresholds[i].high << kLowBits) | bin));
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
