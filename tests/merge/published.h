#pragma once
// What tests of methods beyond mergekit's share: small deltas on a base, and random merges as
// matrices.

#include <numeric>

#include "tests/catch.h"
#include "tests/merge/memory.h"

namespace lancet::test::published {

inline const std::vector<std::int64_t> kShape{2, 4};
inline const Values kBase{1, -2, .5, 0, .25, 3, -1, 2};
inline const Values kDelta1{.4, -.1, .2, -.3, .05, .6, -.7, .08};
inline const Values kDelta2{-.5, .2, .1, -.1, .3, -.2, -.4, .9};
inline const Values kDelta3{.3, -.2, .1, -.2, .1, .5, -.5, .2};

inline Values plus(const Values& a, const Values& b, double factor = 1) {
  Values out(a);
  for (std::size_t i = 0; i < a.size(); ++i) out[i] += factor * b[i];
  return out;
}

/// The merged delta of deltas on kBase.
inline Values merged(const std::string& method, const std::vector<Values>& deltas,
                     const Given& given = {}, const RecipePost& post = {}) {
  TensorMerge merge{.method = method, .shape = kShape, .base = kBase, .given = given};
  merge.post = post;
  for (const Values& delta : deltas) merge.models.push_back(plus(kBase, delta));
  return plus(merge.run(), kBase, -1);
}

inline void check(const Values& found, const Values& expected, double margin = 1e-7) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    CHECK(found[i] == Approx(expected[i]).margin(margin));
  }
}

/// Three models on a base, of some size.
inline TensorMerge random_merge(const std::string& method, std::vector<std::int64_t> shape,
                                unsigned seed = 5) {
  const auto n = static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
  TensorMerge merge{.method = method, .shape = std::move(shape), .base = random_values(n, seed)};
  for (unsigned i = 1; i <= 3; ++i)
    merge.models.push_back(plus(merge.base, random_values(n, seed + i, 0.1 * i)));
  return merge;
}

inline Matrix matrix_of(const TensorMerge& merge, const Values& values) {
  Matrix out(static_cast<std::size_t>(merge.shape[0]), static_cast<std::size_t>(merge.shape[1]));
  out.values = values;
  return out;
}

inline std::vector<Matrix> deltas_of(const TensorMerge& merge) {
  std::vector<Matrix> out;
  for (const Values& model : merge.models)
    out.push_back(matrix_of(merge, plus(model, merge.base, -1)));
  return out;
}

inline double largest(const Matrix& a) {
  double out = 0;
  for (const double value : a.values) out = std::max(out, std::fabs(value));
  return out;
}

}  // namespace lancet::test::published
