// Methods beyond mergekit's that work element by element or column by column: golden values
// computed by hand or in numpy from the papers' formulas, and slow versions that follow them word
// by word.
#include "tests/merge/published.h"

using namespace lancet;
using namespace lancet::test;
using namespace lancet::test::published;

TEST_CASE("consensus: TALL masks keep the elements that at least k tasks use") {
  Values expected(8);
  expected[0] = -.1;
  check(merged("consensus", {kDelta1, kDelta2}, {{"mask_lambda", {.6}}}), expected);
  // k = 0 keeps the sum, k = 1 drops what no task uses.
  check(merged("consensus", {kDelta1, kDelta2}, {{"k", {0}}}), plus(kDelta1, kDelta2));
  check(merged("consensus", {kDelta1, kDelta2}, {{"mask_lambda", {.6}}, {"k", {1}}}),
        {-.1, .1, .3, -.4, .35, .4, -1.1, .98});
}

TEST_CASE("emr: the elected sign with the largest magnitude that agrees with it") {
  check(merged("emr", {kDelta1, kDelta2}), {-.5, .2, .2, -.3, .3, .6, -.7, .9});
  check(merged("emr", {kDelta1, kDelta2}, {{"weight", {3, 1}}}),
        {1.2, -.3, .6, -.9, .3, 1.8, -2.1, .9});
}

TEST_CASE("magmax: each element is the largest change, whatever its sign") {
  check(merged("magmax", {kDelta1, kDelta2}), {-.5, .2, .2, -.3, .3, .6, -.7, .9});
  check(merged("magmax", {kDelta1, kDelta2, kDelta3}, {{"weight", {1, .5, 2}}, {"lambda", {.5}}}),
        {.3, -.2, .1, -.2, .1, .5, -.5, .225});
}

TEST_CASE("stitch: the largest changes of each model, averaged where they overlap") {
  check(merged("stitch", {kDelta1, kDelta2}, {{"keep", {.25}}}), {-.5, 0, 0, 0, 0, .6, -.7, .9});
  check(merged("stitch", {kDelta1, kDelta2}, {{"keep", {.5}}}),
        {-.05, 0, 0, -.3, .3, .6, -.55, .9});
  check(merged("stitch", {kDelta1, kDelta2}, {{"keep", {0}}}), Values(8));
}

namespace {

double norm_in(const Values& products, double value) {
  const auto [low, high] = std::ranges::minmax(products);
  return high > low ? (value - low) / (high - low) : 0;
}

Values softmax(const Values& products, double factor) {
  Values out;
  double sum = 0;
  for (const double v : products) {
    out.push_back(std::exp(factor * norm_in(products, v)));
    sum += out.back();
  }
  for (double& v : out) v /= sum;
  return out;
}

Values product(const Values& a, const Values& b) {
  Values out(a);
  for (std::size_t i = 0; i < a.size(); ++i) out[i] *= b[i];
  return out;
}

/// The formulas of PCB as the paper writes them.
Values plain_pcb(const std::vector<Values>& deltas, double keep) {
  const std::size_t n = deltas[0].size();
  Values sum(n), divisor(n);
  for (const Values& own : deltas) {
    Values beta = softmax(product(own, own), static_cast<double>(deltas.size()));
    Values inter(n);
    for (const Values& other : deltas) inter = plus(inter, softmax(product(own, other), 1));
    beta = product(beta, inter);
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return beta[i]; });
    for (std::size_t k = 0; k < static_cast<std::size_t>(keep * static_cast<double>(n)); ++k) {
      divisor[order[k]] += beta[order[k]];
      sum[order[k]] += beta[order[k]] * own[order[k]];
    }
  }
  for (std::size_t i = 0; i < n; ++i) sum[i] = divisor[i] > 0 ? sum[i] / divisor[i] : 0;
  return sum;
}

}  // namespace

TEST_CASE("pcb: the streamed balance equals the paper's formulas on the whole tensor", "[slow]") {
  check(merged("pcb", {kDelta1, kDelta2}, {{"keep", {.5}}}), plain_pcb({kDelta1, kDelta2}, .5));
  TensorMerge merge = random_merge("pcb", {61, 173});
  merge.given = {{"keep", {.3}}};
  std::vector<Values> deltas;
  for (const Matrix& delta : deltas_of(merge)) deltas.push_back(delta.values);
  const Values found = plus(merge.run(), merge.base, -1), expected = plain_pcb(deltas, .3);
  for (std::size_t i = 0; i < found.size(); ++i)
    REQUIRE(found[i] == Approx(expected[i]).margin(1e-12));
}

namespace {

/// WIDEN's score of one divergence [models][columns].
std::vector<Values> plain_scores(std::vector<Values> divergence) {
  std::vector<Values> ranks;
  for (const Values& own : divergence) {
    Values rank(own.size());
    for (std::size_t a = 0; a < own.size(); ++a) {
      for (std::size_t b = 0; b < own.size(); ++b)
        rank[a] += own[b] < own[a] || (own[b] == own[a] && b < a) ? 1.0 : 0.0;
      rank[a] /= static_cast<double>(own.size());
    }
    ranks.push_back(rank);
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const auto n = static_cast<double>(ranks[i].size());
    const double mean = (n - 1) / 2 / n;  // of 0/n .. (n-1)/n, without the rounding of a sum
    for (std::size_t c = 0; c < ranks[i].size(); ++c) {
      double sum = 0;
      for (const Values& rank : ranks) sum += std::exp(rank[c]);
      divergence[i][c] = ranks[i][c] > mean ? 1 : std::exp(ranks[i][c]) / sum;
    }
  }
  return divergence;
}

}  // namespace

TEST_CASE("widen: columns weigh as far as their magnitude and direction moved") {
  const TensorMerge merge = random_merge("widen", {23, 31});
  const Matrix base = matrix_of(merge, merge.base);
  const std::vector<Matrix> deltas = deltas_of(merge);
  std::vector<Values> lengths, turns;
  for (std::size_t i = 0; i < 3; ++i) {
    const Matrix model = matrix_of(merge, merge.models[i]);
    lengths.emplace_back();
    turns.emplace_back();
    for (std::size_t c = 0; c < 31; ++c) {
      double xx = 0, bb = 0, xb = 0;
      for (std::size_t r = 0; r < 23; ++r) {
        xx += model.at(r, c) * model.at(r, c);
        bb += base.at(r, c) * base.at(r, c);
        xb += model.at(r, c) * base.at(r, c);
      }
      lengths.back().push_back(std::fabs(std::sqrt(xx) - std::sqrt(bb)));
      turns.back().push_back(1 - xb / std::sqrt(xx) / std::sqrt(bb));
    }
  }
  const auto by_length = plain_scores(lengths), by_turn = plain_scores(turns);
  Matrix expected = base;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t r = 0; r < 23; ++r) {
      for (std::size_t c = 0; c < 31; ++c)
        expected.at(r, c) += (by_length[i][c] + by_turn[i][c]) / 2 * deltas[i].at(r, c);
    }
  }
  const Values found = merge.run();
  for (std::size_t i = 0; i < found.size(); ++i)
    REQUIRE(found[i] == Approx(expected.values[i]).margin(1e-12));
}

TEST_CASE("widen: an embedding is judged row by row, a vector element by element") {
  TensorMerge rows = random_merge("widen", {23, 31});
  rows.embedding = true;
  const Matrix found = matrix_of(rows, rows.run());
  const auto turned = [](const TensorMerge& merge, const Values& values) {
    return transposed(matrix_of(merge, values)).values;
  };
  TensorMerge columns = rows;
  columns.embedding = false;
  columns.shape = {31, 23};
  columns.base = turned(rows, rows.base);
  for (std::size_t i = 0; i < 3; ++i) columns.models[i] = turned(rows, rows.models[i]);
  const Matrix expected = matrix_of(columns, columns.run());
  for (std::size_t r = 0; r < 23; ++r) {
    for (std::size_t c = 0; c < 31; ++c)
      REQUIRE(found.at(r, c) == Approx(expected.at(c, r)).margin(1e-13));
  }
  const TensorMerge vector = random_merge("widen", {17});
  std::vector<Values> changes;
  Values sum(vector.base);
  for (const Values& model : vector.models) {
    changes.push_back(plus(model, vector.base, -1));
    for (double& v : changes.back()) v = std::fabs(v);
  }
  const auto scores = plain_scores(changes);
  for (std::size_t i = 0; i < 3; ++i)
    sum = plus(sum, product(scores[i], plus(vector.models[i], vector.base, -1)));
  check(vector.run(), sum, 1e-12);
}

TEST_CASE("widen: the middle rank is not above the mean, and what does not turn has turned by 0") {
  // Eleven columns, of which the sixth in rank is exactly the mean.
  TensorMerge merge{.method = "widen", .shape = {1, 11}, .base = Values(11, 1.0)};
  merge.models.push_back(Values(11, 1.0));
  for (std::size_t c = 0; c < 11; ++c) merge.models[0][c] += 0.1 * static_cast<double>(c);
  merge.given = {{"calibration", {0}}};
  const Values found = merge.run();
  // No column turns: by direction they rank in their order, as by length. Score 1 up to the mean.
  for (std::size_t c = 0; c < 11; ++c)
    CHECK(found[c] == Approx(c <= 5 ? merge.models[0][c] : 1.0).margin(1e-15));
}

TEST_CASE("sce: of a large tensor the share of positions that differ, whatever memory there is") {
  constexpr std::size_t kMany = (1U << 20) + 1234;  // more than what is collected whole
  TensorMerge merge{.method = "sce", .shape = {static_cast<std::int64_t>(kMany)}};
  merge.base = Values(kMany, 1.0);
  Values changed(kMany);
  std::size_t nonzero = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    // Every third position is the same in both models; the others are all different.
    changed[i] = i % 3 == 0 ? 0.0 : 0x1p-30 * static_cast<double>((i * 7919) % kMany + 1);
    nonzero += changed[i] != 0 ? 1U : 0U;
  }
  merge.models = {plus(merge.base, changed), merge.base};
  merge.given["select_topk"] = {0.4};
  const Values out = merge.run();
  std::size_t kept = 0;
  double least_kept = 1, most_dropped = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    const bool is_kept = out[i] != 1.0;
    kept += is_kept ? 1U : 0U;
    least_kept = is_kept ? std::min(least_kept, changed[i]) : least_kept;
    most_dropped = is_kept ? most_dropped : std::max(most_dropped, changed[i]);
  }
  CHECK(kept == static_cast<std::size_t>(0.4 * static_cast<double>(nonzero)));
  CHECK(least_kept >= most_dropped);  // variances are ranked as float32
  merge.scratch = 1;                  // histograms instead of a window, no marks
  CHECK(merge.run() == out);
}
