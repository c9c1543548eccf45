// Methods beyond mergekit's: golden values computed by hand or in numpy from the papers' formulas,
// and slow versions that follow them word by word.
#include <numeric>

#include "tests/catch.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const std::vector<std::int64_t> kShape{2, 4};
const Values kBase{1, -2, .5, 0, .25, 3, -1, 2};
const Values kDelta1{.4, -.1, .2, -.3, .05, .6, -.7, .08};
const Values kDelta2{-.5, .2, .1, -.1, .3, -.2, -.4, .9};
const Values kDelta3{.3, -.2, .1, -.2, .1, .5, -.5, .2};

Values plus(const Values& a, const Values& b, double factor = 1) {
  Values out(a);
  for (std::size_t i = 0; i < a.size(); ++i) out[i] += factor * b[i];
  return out;
}

/// The merged delta of deltas on kBase.
Values merged(const std::string& method, const std::vector<Values>& deltas, const Given& given = {},
              const RecipePost& post = {}) {
  TensorMerge merge{.method = method, .shape = kShape, .base = kBase, .given = given};
  merge.post = post;
  for (const Values& delta : deltas) merge.models.push_back(plus(kBase, delta));
  return plus(merge.run(), kBase, -1);
}

void check(const Values& found, const Values& expected, double margin = 1e-7) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    CHECK(found[i] == Approx(expected[i]).margin(margin));
  }
}

/// Three models on a base, of some size.
TensorMerge random_merge(const std::string& method, std::vector<std::int64_t> shape,
                         unsigned seed = 5) {
  const auto n = static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
  TensorMerge merge{.method = method, .shape = std::move(shape), .base = random_values(n, seed)};
  for (unsigned i = 1; i <= 3; ++i)
    merge.models.push_back(plus(merge.base, random_values(n, seed + i, 0.1 * i)));
  return merge;
}

Matrix matrix_of(const TensorMerge& merge, const Values& values) {
  Matrix out(static_cast<std::size_t>(merge.shape[0]), static_cast<std::size_t>(merge.shape[1]));
  out.values = values;
  return out;
}

std::vector<Matrix> deltas_of(const TensorMerge& merge) {
  std::vector<Matrix> out;
  for (const Values& model : merge.models)
    out.push_back(matrix_of(merge, plus(model, merge.base, -1)));
  return out;
}

double largest(const Matrix& a) {
  double out = 0;
  for (const double value : a.values) out = std::max(out, std::fabs(value));
  return out;
}

}  // namespace

// --- element-wise ---

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

// --- spectral ---

TEST_CASE("tsv_m: golden values of two tasks with one triplet each") {
  check(merged("tsv_m", {kDelta1, kDelta2}, {{"svd", {1}}}),
        {-.4796880, .5976250, -.0270764, -.7544434, .0931372, .4235853, -.7658040, .4550440});
}

TEST_CASE("tsv_m: of one model it is the model itself") {
  check(merged("tsv_m", {kDelta1}), kDelta1, 1e-12);
}

TEST_CASE("iso_c: golden values, and all singular values equal their mean") {
  check(merged("iso_c", {kDelta1, kDelta2}),
        {-.0426486, .7410982, .0813824, -.5617261, .2046135, .4334010, -.6563748, .4611658});
  for (const auto& shape : {std::vector<std::int64_t>{19, 7}, {7, 19}}) {
    const TensorMerge merge = random_merge("iso_c", shape);
    const Matrix found = matrix_of(merge, plus(merge.run(), merge.base, -1));
    const Svd before = jacobi().svd([&] {
      Matrix sum(found.rows, found.columns);
      for (const Matrix& delta : deltas_of(merge)) add_scaled(sum, delta, 1);
      return sum;
    }());
    const double mean = std::accumulate(before.values.begin(), before.values.end(), 0.0) / 7;
    for (const double value : jacobi().svd(found).values)
      CHECK(value == Approx(mean).epsilon(1e-10));
    // The same directions: U^T found V^T is diagonal.
    const Matrix turned = jacobi().multiply(jacobi().multiply(before.left, found, true, false),
                                            before.right, false, true);
    for (std::size_t r = 0; r < 7; ++r) {
      for (std::size_t c = 0; c < 7; ++c)
        CHECK(turned.at(r, c) == Approx(r == c ? mean : 0).margin(1e-10));
    }
  }
}

TEST_CASE("iso_cts: without room for tasks it is iso_c, with room its spectrum is flat too") {
  TensorMerge merge = random_merge("iso_cts", {12, 18});
  merge.given = {{"common", {1}}};
  TensorMerge plain = merge;
  plain.method = "iso_c";
  plain.given.clear();
  check(merge.run(), plain.run(), 1e-10);
  merge.given = {{"common", {.5}}};
  const Matrix found = matrix_of(merge, plus(merge.run(), merge.base, -1));
  const Svd svd = jacobi().svd(found);
  CHECK(svd.values.back() == Approx(svd.values.front()).epsilon(1e-9));
  // Six common triplets and two of each task.
  const std::vector<Matrix> deltas = deltas_of(merge);
  Matrix total(12, 18);
  for (const Matrix& delta : deltas) add_scaled(total, delta, 1);
  const Svd all = jacobi().svd(total);
  const Matrix common = columns_of(all.left, 0, 6);
  double sum = std::accumulate(all.values.begin(), all.values.begin() + 6, 0.0);
  for (Matrix delta : deltas) {
    add_scaled(
        delta,
        jacobi().multiply(common, jacobi().multiply(common, delta, true, false), false, false), -1);
    const Svd own = jacobi().svd(delta);
    sum += own.values[0] + own.values[1];
  }
  CHECK(svd.values.front() == Approx(sum / 12).epsilon(1e-9));
}

TEST_CASE(
    "iso_cts: of half a triplet for each task the even number is taken, as in the paper's code") {
  // 12 directions, 3 of them common: 4.5 for each of two tasks are 4, and 4 are common.
  TensorMerge merge = random_merge("iso_cts", {12, 18});
  merge.models.pop_back();
  merge.given = {{"common", {.3}}};
  TensorMerge even = merge;
  even.given = {{"common", {.34}}};  // floor(4.08) = 4, (12 - 4) / 2 = 4
  check(merge.run(), even.run(), 1e-12);
}

TEST_CASE("regmean_free: golden values, and the gradient of its objective is zero") {
  check(merged("regmean_free", {kDelta1, kDelta2}, {{"ridge", {.02}}}),
        {.1873360, .7359936, .9590176, .0841240, .5092696, .3647042, -.7903633, .7748013});
  // More rows than columns, and fewer (the inverse in the rows' space).
  for (const auto& shape : {std::vector<std::int64_t>{16, 9}, {3, 14}}) {
    TensorMerge merge = random_merge("regmean_free", shape);
    merge.given = {{"ridge", {.1}}};
    const Matrix x = matrix_of(merge, plus(merge.run(), merge.base, -1));
    const double mu = .1 * 3 / static_cast<double>(shape[1]);
    Matrix gradient(x.rows, x.columns), sum(x.rows, x.columns);
    for (const Matrix& delta : deltas_of(merge)) {
      Matrix away = x;
      add_scaled(away, delta, -1);
      const Matrix seen = jacobi().multiply(away, delta, false, true);
      add_scaled(gradient, jacobi().multiply(seen, delta, false, false), 1 / squared_norm(delta));
      add_scaled(sum, delta, 1);
    }
    add_scaled(gradient, x, mu);
    add_scaled(gradient, sum, -mu);
    CHECK(largest(gradient) < 1e-12);
    CHECK(largest(x) > .05);
  }
}

TEST_CASE("resmerge: golden values with consensus and without") {
  check(merged("resmerge", {kDelta1, kDelta3}, {{"svd", {1}}}),
        {.3417157, .0127501, -.0380003, -.1796953, .1154391, .0592520, -.0743678, -.0409474});
  check(merged("resmerge", {kDelta1, kDelta2}, {{"svd", {1}}}),
        {.0127841, .1002754, -.0300627, -.0277797, .0006226, .0355807, -.0144779, -.0024989});
}

TEST_CASE("knots: with a sum inside it is task arithmetic, of one model the model itself") {
  Values sum(8);
  for (std::size_t i = 0; i < 8; ++i) sum[i] = 0.4 * kDelta1[i] + 0.9 * kDelta2[i];
  check(merged("knots", {kDelta1, kDelta2}, {{"inner", {1}}, {"weight", {0.4, 0.9}}}), sum, 1e-12);
  check(merged("knots", {kDelta1}), kDelta1, 1e-12);
}

TEST_CASE("knots: a model without a change takes no part in the election of signs") {
  TensorMerge merge = random_merge("knots", {9, 13});
  merge.models.pop_back();
  merge.models[1] = merge.base;
  check(merge.run(), merge.models[0], 1e-12);
}

TEST_CASE("spectral methods take the mean of embeddings and vectors") {
  Values mean(8);
  for (std::size_t i = 0; i < 8; ++i) mean[i] = (kDelta1[i] + kDelta2[i]) / 2;
  for (const std::string method :
       {"tsv_m", "iso_c", "iso_cts", "regmean_free", "resmerge", "knots"}) {
    INFO(method);
    TensorMerge merge{.method = method,
                      .shape = kShape,
                      .models = {plus(kBase, kDelta1), plus(kBase, kDelta2)},
                      .base = kBase};
    merge.embedding = true;
    check(plus(merge.run(), kBase, -1), mean);
    merge.embedding = false;
    merge.shape = {8};
    check(plus(merge.run(), kBase, -1), mean);
  }
}

TEST_CASE("spectral methods: low-rank deltas bring no direction of their own from rounding") {
  // Rank-one deltas: the merged delta has the rank of their span.
  for (const std::string method : {"tsv_m", "iso_c", "iso_cts", "knots"}) {
    INFO(method);
    TensorMerge merge{.method = method, .shape = {9, 11}, .base = random_values(99, 1)};
    for (unsigned i = 0; i < 2; ++i) {
      const Values u = random_values(9, 10 + i), v = random_values(11, 20 + i);
      Values model = merge.base;
      for (std::size_t k = 0; k < 99; ++k) model[k] += u[k / 11] * v[k % 11];
      merge.models.push_back(model);
    }
    const Svd found = jacobi().svd(matrix_of(merge, plus(merge.run(), merge.base, -1)));
    CHECK(found.values[1] > 1e-3);
    CHECK(found.values[2] < 1e-9);
  }
}

TEST_CASE("spectral methods: models that say the same bring no direction of their own") {
  // Of two equal models or opposite ones one set of directions is left.
  const Svd svd = jacobi().svd([] {
    Matrix all(2, 4);
    all.values = kDelta1;
    return all;
  }());
  Values first;  // the triplet that each of two models keeps
  for (std::size_t i = 0; i < 8; ++i)
    first.push_back(svd.left.at(i / 4, 0) * svd.values[0] * svd.right.at(0, i % 4));
  check(merged("tsv_m", {kDelta1, kDelta1}), first, 1e-12);
  check(merged("tsv_m", {kDelta1, plus(Values(8), kDelta1, -1)}), Values(8), 1e-12);
  for (const std::string method : {"tsv_m", "iso_cts"}) {
    INFO(method);
    TensorMerge merge = random_merge(method, {9, 40});
    merge.models[1] = merge.models[2] = merge.models[0];
    if (method == "iso_cts") merge.given = {{"common", {.4}}};
    // Rows of the result are combinations of rows of the one delta.
    const Matrix delta = deltas_of(merge)[0];
    Matrix rest = matrix_of(merge, plus(merge.run(), merge.base, -1));
    const Matrix right = jacobi().svd(delta).right;
    add_scaled(rest, jacobi().multiply(jacobi().multiply(rest, right, false, true), right), -1);
    CHECK(largest(rest) < 1e-10);
  }
}

// --- post ---

TEST_CASE("post: svc damps what several models share; golden values on the sum of deltas") {
  RecipePost post;
  post.svc = 1;
  check(merged("task_arithmetic", {kDelta1, kDelta2}, {{"weight", {1}}}, post),
        {-.0789161, .1205391, .2339735, -.3389734, .2795045, .3313260, -.8792357, .7759531});
}

TEST_CASE("post: subspace boosting raises small singular values to the one at the threshold") {
  RecipePost post;
  post.boost = 0.6;
  TensorMerge merge = random_merge("task_arithmetic", {10, 6});
  merge.given = {{"weight", {1}}};
  const Svd before = jacobi().svd(matrix_of(merge, plus(merge.run(), merge.base, -1)));
  merge.post = post;
  const Svd after = jacobi().svd(matrix_of(merge, plus(merge.run(), merge.base, -1)));
  double wanted = .6 * std::accumulate(before.values.begin(), before.values.end(), 0.0), sum = 0;
  std::size_t cut = 0;
  while ((sum += before.values[cut]) < wanted) ++cut;
  REQUIRE(cut > 0);
  REQUIRE(cut < 5);
  for (std::size_t r = 0; r < 6; ++r)
    CHECK(after.values[r] == Approx(std::max(before.values[r], before.values[cut])).epsilon(1e-10));
}

// --- the algebra itself ---

TEST_CASE("linalg: a truncated SVD by a random range has the error that it reports") {
  // Decaying spectrum with a tail.
  const std::size_t rows = 60, columns = 45;
  Matrix u(rows, columns), v(columns, columns);
  u.values = random_values(u.values.size(), 1);
  v.values = random_values(v.values.size(), 2);
  u = jacobi().qr(u).q;
  v = jacobi().qr(v).q;
  std::vector<double> values;
  for (std::size_t k = 0; k < columns; ++k) values.push_back(std::pow(.8, static_cast<double>(k)));
  Matrix scaled = u;
  scale_columns(scaled, values);
  const Matrix a = jacobi().multiply(scaled, v, false, false);
  const Svd exact = truncated_svd(jacobi(), a, 5, SvdMode::kExact);
  const Svd random = truncated_svd(jacobi(), a, 5, SvdMode::kRandomized);
  for (const Svd* svd : {&exact, &random}) {
    Matrix rest = a;
    scaled = svd->left;
    scale_columns(scaled, svd->values);
    add_scaled(rest, jacobi().multiply(scaled, svd->right, false, false), -1);
    CHECK(std::sqrt(squared_norm(rest) / squared_norm(a)) == Approx(svd->error).epsilon(1e-9));
  }
  CHECK(exact.bound == 0);
  CHECK(random.bound > 0);
  CHECK(random.bound < 1e-3);
  for (std::size_t k = 0; k < 5; ++k)
    CHECK(std::fabs(random.values[k] - exact.values[k]) <= random.bound * exact.values[0] + 1e-14);
  CHECK(random.error >= exact.error);
}

TEST_CASE("linalg: svd auto is as good as the whole decomposition, also where values lie close") {
  // A spectrum that hardly decays: four power steps are far from its vectors.
  Matrix a(520, 40);
  a.values = random_values(a.values.size(), 3);
  const Matrix left = jacobi().qr(a).q;
  a = Matrix(530, 40);
  a.values = random_values(a.values.size(), 4);
  const Matrix right = transposed(jacobi().qr(a).q);
  std::vector<double> values;
  for (std::size_t k = 0; k < 40; ++k) values.push_back(1 - 0.02 * static_cast<double>(k));
  Matrix scaled = left;
  scale_columns(scaled, values);
  a = jacobi().multiply(scaled, right);
  const Svd quick = truncated_svd(jacobi(), a, 2, SvdMode::kQuick);
  const Svd found = truncated_svd(jacobi(), a, 2, SvdMode::kAuto);
  CHECK(quick.bound > 1e-3);
  CHECK(found.bound > 0);
  CHECK(found.bound <= 1e-6);
  for (std::size_t k = 0; k < 2; ++k) {
    CHECK(found.values[k] == Approx(values[k]).epsilon(1e-9));
    double product = 0;
    for (std::size_t r = 0; r < 520; ++r) product += found.left.at(r, k) * left.at(r, k);
    CHECK(std::fabs(product) == Approx(1).epsilon(1e-6));
  }
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
