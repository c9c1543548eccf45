// Editors of many facts against the plain float64 frame of reference_rome.h and the papers' dense
// formulas.
#include "surgery/solve.h"
#include "tests/surgery/mass_tiny.h"

using namespace lancet;
using namespace lancet::mass_tiny;

namespace {

/// The values and losses of all facts.
void check_values(const EditPlan& plan, const reference::MassSolution& expected) {
  for (std::size_t f = 0; f < expected.values.size(); ++f) {
    CAPTURE(f);
    const FactTrace& trace = plan.traces[f];
    REQUIRE(trace.losses.size(0) == static_cast<std::int64_t>(expected.losses[f].size()));
    for (std::size_t step = 0; step < expected.losses[f].size(); ++step) {
      CHECK(trace.losses[static_cast<std::int64_t>(step)][0].item<double>() ==
            Approx(expected.losses[f][step][0]).epsilon(tolerance::kReference));
    }
    CHECK(distance(trace.value, matrix(expected.values[f], tiny_edit::kModel).squeeze(1)) <
          tolerance::kReference);
  }
}

void check_plan(const EditPlan& plan, const reference::MassSolution& expected,
                const std::vector<std::int64_t>& layers) {
  check_values(plan, expected);
  REQUIRE(plan.factors.size() == layers.size());
  for (std::size_t j = 0; j < layers.size(); ++j) {
    CAPTURE(layers[j]);
    CHECK(plan.factors[j].layer == layers[j]);
    CHECK(distance(plan.factors[j].left, matrix(expected.left.at(layers[j]), tiny_edit::kModel)) <
          tolerance::kReference);
    CHECK(distance(plan.factors[j].right, matrix(expected.answers.at(layers[j]), tiny_edit::kFf)) <
          tolerance::kReference);
  }
}

/// The published form of each update, dense: A with delta W = R A^T.
reference::Answer memit_answer(double lambda, std::int64_t width = tiny_edit::kFf) {
  return [=](std::int64_t layer, const std::vector<double>& keys) {
    const at::Tensor k = matrix(keys, width);
    return values_of(
        at::linalg_solve(lambda * Tiny::covariance(layer, width) + at::matmul(k, k.t()), k));
  };
}

/// The weights of the model with a plan's factors.
at::Tensor change(const Factors& factors) {
  return at::matmul(factors.left.to(at::kDouble), factors.right.to(at::kDouble).t());
}

}  // namespace

TEST_CASE("memit: values, keys and factors are those of a plain float64 implementation", "[slow]") {
  const Tiny tiny(GENERATE(1U, 2U));
  const std::vector<std::int64_t> layers{0, 1};
  check_plan(tiny.plan("memit", layers, {{"lambda", "0.7"}}),
             tiny.plainly(layers, memit_answer(0.7)), layers);
}

TEST_CASE("memit: in layers of experts the facts' experts are written side by side", "[slow]") {
  const Tiny tiny(2, true);
  const std::vector<std::int64_t> layers{0, 1};
  const EditPlan plan = tiny.plan("memit", layers, {{"lambda", "0.7"}});
  const auto expected = tiny.plainly(layers, memit_answer(0.7, tiny.width()));
  check_values(plan, expected);
  for (const std::int64_t layer : layers) {
    CAPTURE(layer);
    const at::Tensor right = at::zeros({tiny.width(), 3}, at::kDouble);
    for (const Factors& one : plan.factors) {
      if (one.layer != layer) continue;
      CHECK(one.tensor == "model.layers." + std::to_string(layer) + ".block_sparse_moe.experts." +
                              std::to_string(one.first / tiny_edit::kExpertFf) + ".w2.weight");
      CHECK(distance(one.left, matrix(expected.left.at(layer), tiny_edit::kModel)) <
            tolerance::kReference);
      right.narrow(0, one.first, tiny_edit::kExpertFf).copy_(one.right);
    }
    CHECK(distance(right, matrix(expected.answers.at(layer), tiny.width())) <
          tolerance::kReference);
  }
}

TEST_CASE("memit: lambda auto is 0.7 of the mean k C^-1 k", "[slow]") {
  const Tiny tiny(3);
  const EditPlan plan = tiny.plan("memit", {1}, {});
  at::Tensor sum = at::zeros({}, at::kDouble);
  const SpdSolver solver(Tiny::covariance(1));
  for (const FactTrace& trace : plan.traces)
    sum = sum + trace.keys.front().second.dot(solver.solve(trace.keys.front().second).x);
  const double lambda = plan.notes["layers"][0]["lambda"].get<double>();
  CHECK(lambda == Approx(0.7 * sum.item<double>() / 3));
  check_plan(plan, tiny.plainly({1}, memit_answer(lambda)), {1});
}

TEST_CASE("emmet: the update is the equality-constrained one of the paper", "[slow]") {
  const Tiny tiny(4);
  const std::vector<std::int64_t> layers{1};
  const double ridge = 0.01;
  const auto answer = [&](std::int64_t layer, const std::vector<double>& keys) {
    const at::Tensor k = matrix(keys, tiny_edit::kFf);
    const at::Tensor inverse = at::linalg_inv(Tiny::covariance(layer));
    at::Tensor d = at::matmul(k.t(), at::matmul(inverse, k));
    d.diagonal().add_(ridge * d.diagonal().mean().item<double>());
    return values_of(at::matmul(inverse, at::matmul(k, at::linalg_inv(d))));
  };
  check_plan(tiny.plan("emmet", layers, {{"ridge", "0.01"}}), tiny.plainly(layers, answer), layers);
  // Without a ridge the new matrix sends every key to its value.
  const EditPlan exact = tiny.plan("emmet", layers, {{"ridge", "0"}});
  const Factors& factors = exact.factors.front();
  for (std::int64_t f = 0; f < 3; ++f) {
    const at::Tensor& key = exact.traces[static_cast<std::size_t>(f)].keys.front().second;
    CHECK(distance(at::mv(change(factors), key), factors.left.select(1, f).to(at::kDouble)) <
          tolerance::kReference);
  }
}

TEST_CASE("alphaedit: the update is the published system's, and keys outside the null space stay",
          "[slow]") {
  const Tiny tiny(5);
  const std::vector<std::int64_t> layers{0, 1};
  const double threshold = 0.9, l2 = 0.3;
  const auto projector = [&](std::int64_t layer) {
    const auto [values, vectors] = at::linalg_eigh(Tiny::covariance(layer));
    const at::Tensor space = vectors.narrow(1, 0, (values < threshold).sum().item<std::int64_t>());
    return at::matmul(space, space.t());
  };
  const auto answer = [&](std::int64_t layer, const std::vector<double>& keys) {
    const at::Tensor k = matrix(keys, tiny_edit::kFf), p = projector(layer);
    const at::Tensor system =
        at::matmul(at::matmul(p, k), k.t()) + l2 * at::eye(tiny_edit::kFf, at::kDouble);
    return values_of(at::linalg_solve(system, at::matmul(p, k)));
  };
  const EditPlan plan = tiny.plan("alphaedit", layers, {{"threshold", "0.9"}, {"l2", "0.3"}});
  check_plan(plan, tiny.plainly(layers, answer), layers);
  const at::Tensor used = at::eye(tiny_edit::kFf, at::kDouble) - projector(1);
  CHECK(at::matmul(change(plan.factors[1]), used).norm().item<double>() <
        tolerance::kForward * change(plan.factors[1]).norm().item<double>());
  CHECK_THROWS_WITH(tiny.plan("alphaedit", {1}, {{"threshold", "0"}}),
                    Catch::Contains("found none"));
}
