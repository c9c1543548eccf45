// Methods beyond mergekit's that work on singular values: golden values computed in numpy from the
// papers' formulas, and the laws that they promise.
#include "tests/merge/published.h"

using namespace lancet;
using namespace lancet::test;
using namespace lancet::test::published;

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
