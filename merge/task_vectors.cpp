#include "merge/task_vectors.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/kept_marks.h"
#include "merge/ops/keys.h"
#include "merge/ops/rank_mask.h"
#include "merge/ops/select.h"

namespace lancet {
namespace {

constexpr double kSmallestMass = 1e-7;     ///< below it a delta is not rescaled
constexpr double kSmallestDivisor = 1e-8;  ///< of the plain weighted sum

/// Parameters and factors of one tensor.
struct Family {
  std::vector<double> weights;  ///< of u_i = weight_i * rescale_i * sparsify(d_i)
  std::vector<double> rescale;
  double lambda = 1;
  bool normalize = false;
};

/// |d_i|_1 / |sparsify(d_i)|_1; leaves in `marks` what was kept.
std::vector<double> measure_rescale(const MergeTask& task, const Sparsify& sparsify,
                                    KeptMarks& marks) {
  const std::size_t n = task.models();
  const std::vector<double> mass = task.sum(2 * n, [&](const Block& block, std::span<double> sums) {
    for (std::size_t i = 0; i < n; ++i) {
      sums[2 * i] += ops::abs_sum(block.models[i]);
      sparsify(block, i, block.models[i]);
      marks.mark(block, i, block.models[i]);
      sums[2 * i + 1] += ops::abs_sum(block.models[i]);
    }
  });
  std::vector<double> factors(n, 1.0);
  for (std::size_t i = 0; i < n; ++i) {
    const bool measurable = mass[2 * i] >= kSmallestMass && mass[2 * i + 1] >= kSmallestMass;
    if (measurable) factors[i] = mass[2 * i] / mass[2 * i + 1];
  }
  return factors;
}

/// b + lambda * m / D without consensus.
Emit weighted_sum(const Family& family) {
  std::vector<double> weights(family.weights);
  double divisor = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] *= family.rescale[i];
    divisor += family.weights[i];
  }
  const bool divide = family.normalize && std::fabs(divisor) >= kSmallestDivisor;
  const double factor = divide ? family.lambda / divisor : family.lambda;
  return [weights = std::move(weights), factor](const Block& block, ops::Out out) {
    ops::weigh(out, block.models, weights, factor, block.base);
  };
}

/// The same with consensus. Paper semantics: the sign is elected by the deltas themselves, not by
/// w_i d_i.
Emit consensus(const Family& family, bool weighted_election) {
  return [=](const Block& block, ops::Out out) {
    std::vector<ops::Vote> votes;
    for (std::size_t i = 0; i < block.models.size(); ++i)
      votes.push_back({block.models[i].data(), family.rescale[i], family.weights[i]});
    ops::elect(
        out, block.base, votes,
        {.by_values = !weighted_election, .divide = family.normalize, .lambda = family.lambda});
  };
}

}  // namespace

Emit merge_task_vectors(const MergeTask& task, const TaskVectorRule& rule) {
  Family family{task.numbers("weight"), std::vector<double>(task.models(), 1.0),
                task.number("lambda"), task.flag("normalize")};
  Sparsify sparsify = rule.sparsify;
  if (rule.measure_rescale && rule.sparsify) {
    auto marks = std::make_shared<KeptMarks>(task, task.models());
    family.rescale = measure_rescale(task, rule.sparsify, *marks);
    if (marks->fits()) {
      sparsify = [marks](const Block& block, std::size_t model, ops::Out) {
        marks->keep(block, model, block.models[model]);
      };
    }
  }
  const bool weighted_election = task.semantics() != Semantics::kPaper;
  Emit mix = rule.consensus ? consensus(family, weighted_election) : weighted_sum(family);
  if (!sparsify) return mix;
  return [sparsify = std::move(sparsify), mix = std::move(mix)](const Block& block, ops::Out out) {
    for (std::size_t i = 0; i < block.models.size(); ++i) sparsify(block, i, block.models[i]);
    mix(block, out);
  };
}

Emit merge_by_chance(const MergeTask& task, bool consensus,
                     Sparsify (*mask)(const MergeTask& task, bool unbiased)) {
  const bool unbiased = task.semantics() == Semantics::kPaper && task.flag("rescale");
  return merge_task_vectors(task, {.consensus = consensus,
                                   .sparsify = mask(task, unbiased),
                                   .measure_rescale = task.flag("rescale") && !unbiased});
}

namespace {

std::uint64_t share_of(std::uint64_t elements, double share) {
  return static_cast<std::uint64_t>(share * static_cast<double>(elements));
}

Sparsify keep_bands(const MergeTask& task, const std::vector<ops::RankBand>& bands) {
  return [filters = ops::BandFilter::find(task, {}, bands)](const Block& block, std::size_t model,
                                                            ops::Out delta) {
    filters[model].keep(block, delta);
  };
}

/// A scratch buffer as integers, two for each value.
std::span<std::uint32_t> words_of(ops::Out scratch) {
  return {reinterpret_cast<std::uint32_t*>(scratch.data()), 2 * scratch.size()};
}

bool keeps_everything(const std::vector<double>& densities) {
  return std::ranges::all_of(densities, [](double d) { return d >= 1; });
}

}  // namespace

Sparsify keep_largest(const MergeTask& task) {
  const std::vector<double> densities = task.numbers("density");
  if (keeps_everything(densities)) return {};
  std::vector<ops::RankBand> bands;
  for (const double density : densities) {
    const std::uint64_t count = std::max<std::uint64_t>(share_of(task.elements(), density), 1);
    bands.push_back({0, density >= 1 ? task.elements() : density <= 0 ? 0 : count});
  }
  return keep_bands(task, bands);
}

Sparsify keep_middle(const MergeTask& task) {
  const std::vector<double> densities = task.numbers("density");
  if (keeps_everything(densities)) return {};
  const std::vector<double> gammas = task.numbers("gamma");
  const std::uint64_t n = task.elements();
  std::vector<ops::RankBand> bands;
  for (std::size_t i = 0; i < densities.size(); ++i) {
    const std::uint64_t target = densities[i] >= 1 ? n : share_of(n, densities[i]);
    // Where both shares do not fit, the largest give way.
    const std::uint64_t top = std::min(share_of(n, gammas[i]), n - target);
    bands.push_back({densities[i] >= 1 ? 0 : top, densities[i] >= 1 ? n : top + target});
  }
  return keep_bands(task, bands);
}

Sparsify keep_random(const MergeTask& task, bool unbiased) {
  const std::vector<double> densities = task.numbers("density");
  if (keeps_everything(densities)) return {};
  std::vector<Random> randoms;
  for (std::size_t i = 0; i < task.models(); ++i) randoms.push_back(task.random(i));
  return [densities, randoms, unbiased](const Block& block, std::size_t model, ops::Out delta) {
    const double density = densities[model];
    if (density >= 1) return;
    randoms[model].fill_bits(block.begin, block.keys);
    ops::keep_random(delta, block.keys, ops::chance_limit(density));
    if (unbiased && density > 0) ops::scale(delta, 1 / density);
  };
}

std::optional<ParameterFault> ranked_fault(const MergeTask& task) {
  const bool strict = task.semantics() == Semantics::kMergekit;
  for (std::size_t i = 0; i < task.models(); ++i) {
    const double density = task.number("density", i), epsilon = task.number("epsilon", i);
    if (density >= 1) continue;
    const bool inside = strict ? density - epsilon > 0 && density + epsilon < 1
                               : density - epsilon >= 0 && density + epsilon <= 1;
    if (!inside) {
      return ParameterFault{
          .parameter = "density",
          .model = i,
          .message =
              fmt::format("expected density - epsilon and density + epsilon in {}, found {} "
                          "and {}",
                          strict ? "(0, 1)" : "[0, 1]", density - epsilon, density + epsilon),
          .hint = fmt::format("they are probabilities: with density {} epsilon is at most {}",
                              density, std::min(density, 1 - density))};
    }
    if (strict && task.width() == 1) {
      return ParameterFault{.kind = ErrorKind::kNumeric,
                            .parameter = "density",
                            .model = i,
                            .message = "mergekit's della has no answer for rows of one element",
                            .hint = "leave out --semantics mergekit"};
    }
  }
  return std::nullopt;
}

Sparsify keep_ranked(const MergeTask& task, bool unbiased) {
  task.check_parameters();
  const std::vector<double> densities = task.numbers("density");
  if (keeps_everything(densities)) return {};
  const std::vector<double> epsilons = task.numbers("epsilon");
  const std::uint64_t width = task.width();
  std::vector<Random> randoms;
  for (std::size_t i = 0; i < task.models(); ++i) {
    randoms.push_back(task.random(i));
  }
  return [=](const Block& block, std::size_t model, ops::Out delta) {
    const double density = densities[model], epsilon = epsilons[model];
    if (density >= 1) return;
    // In a row of one element there is no rank: it is kept with the mean probability.
    const ops::RankChance chance{width > 1 ? density - epsilon : density,
                                 width > 1 ? 2 * epsilon / static_cast<double>(width - 1) : 0};
    const auto words = words_of(block.scratch[2]).first(delta.size());
    const auto lists = words_of(block.scratch[1]);
    const ops::RankScratch scratch{words_of(block.scratch[0]), lists.first(delta.size()),
                                   lists.subspan(delta.size())};
    randoms[model].fill_bits(block.begin, words);
    ops::magnitude_keys(block.keys, delta);
    for (std::size_t row = 0; row < delta.size(); row += width) {
      const ops::Out values = delta.subspan(row, width);
      const auto keys = block.keys.subspan(row, width), chances = words.subspan(row, width);
      unbiased ? ops::keep_by_rank_unbiased(values, keys, chances, chance)
               : ops::keep_by_rank(values, keys, chances, chance, scratch);
    }
  };
}

}  // namespace lancet
