#include "merge/statistics.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/interrupt.h"
#include "core/progress.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

/// Dot products of d_0 ... d_n-1, d and the base, upper triangle row by row.
class Gram {
 public:
  explicit Gram(std::size_t models) : vectors_(models + 2) {}
  [[nodiscard]] std::size_t count() const { return vectors_ * (vectors_ + 1) / 2; }
  [[nodiscard]] std::size_t index(std::size_t i, std::size_t j) const {
    if (i > j) std::swap(i, j);
    return i * vectors_ - i * (i + 1) / 2 + j;
  }
  /// Vectors that are not there are empty.
  void add(const std::vector<ops::In>& values, std::span<double> sums) const {
    for (std::size_t i = 0; i < vectors_; ++i) {
      for (std::size_t j = i; j < vectors_; ++j) {
        if (values[i].empty() || values[j].empty()) continue;
        sums[index(i, j)] += ops::dot(values[i], values[j]);
      }
    }
  }

 private:
  std::size_t vectors_;
};

/// G = L L^T by Cholesky; a pivot that vanishes beside its diagonal leaves its column 0.
std::vector<std::vector<double>> factor(const Gram& gram, const std::vector<double>& sums,
                                        std::size_t models) {
  constexpr double kVanishing = 1e-12;
  std::vector<std::vector<double>> l(models, std::vector<double>(models));
  for (std::size_t j = 0; j < models; ++j) {
    const double diagonal = sums[gram.index(j, j)];
    double pivot = diagonal;
    for (std::size_t k = 0; k < j; ++k) pivot -= l[j][k] * l[j][k];
    if (!(pivot > kVanishing * diagonal)) continue;
    l[j][j] = std::sqrt(pivot);
    for (std::size_t i = j + 1; i < models; ++i) {
      double value = sums[gram.index(i, j)];
      for (std::size_t k = 0; k < j; ++k) value -= l[i][k] * l[j][k];
      l[i][j] = value / l[j][j];
    }
  }
  return l;
}

/// G a = row `right` of the sums, with 0 for the models that have no column of L.
std::vector<double> basic_solution(const std::vector<std::vector<double>>& l, const Gram& gram,
                                   const std::vector<double>& sums, std::size_t right) {
  const std::size_t models = l.size();
  std::vector<double> y(models), a(models);
  for (std::size_t j = 0; j < models; ++j) {
    if (l[j][j] == 0) continue;
    y[j] = sums[gram.index(j, right)];
    for (std::size_t k = 0; k < j; ++k) y[j] -= l[j][k] * y[k];
    y[j] /= l[j][j];
  }
  for (std::size_t j = models; j-- > 0;) {
    if (l[j][j] == 0) continue;
    a[j] = y[j];
    for (std::size_t i = j + 1; i < models; ++i) a[j] -= l[i][j] * a[i];
    a[j] /= l[j][j];
  }
  return a;
}

/// Least squares; of several solutions the shortest, so that equal models have equal weights: what
/// lies along the null space of G, spanned by the models without a column of L, is taken off.
std::vector<double> solve(const Gram& gram, const std::vector<double>& sums, std::size_t models) {
  const auto l = factor(gram, sums, models);
  std::vector<double> a = basic_solution(l, gram, sums, models);
  const auto take_off = [](std::vector<double>& from, const std::vector<double>& unit) {
    ops::add_scaled(from, unit, -ops::dot(from, unit));
  };
  std::vector<std::vector<double>> null;
  for (std::size_t j = 0; j < models; ++j) {
    if (l[j][j] != 0) continue;
    std::vector<double> v = basic_solution(l, gram, sums, j);
    ops::scale(v, -1);
    v[j] = 1;
    for (const auto& unit : null) take_off(v, unit);
    ops::scale(v, 1 / std::sqrt(ops::dot(v, v)));
    take_off(a, v);
    null.push_back(std::move(v));
  }
  return a;
}

/// |d - sum_i a_i d_i| / |d|.
double residual(const Gram& gram, const std::vector<double>& sums, const std::vector<double>& a) {
  const std::size_t models = a.size();
  const double whole = sums[gram.index(models, models)];
  double left = whole;
  for (std::size_t i = 0; i < models; ++i) {
    left -= 2 * a[i] * sums[gram.index(i, models)];
    for (std::size_t j = 0; j < models; ++j) left += a[i] * a[j] * sums[gram.index(i, j)];
  }
  return whole > 0 ? std::sqrt(std::clamp(left / whole, 0.0, 1.0)) : 0;
}

TensorOrigin trace(const MergePlan& plan, const PlannedTensor& tensor, const ModelSource& merged) {
  TensorOrigin out{.name = tensor.name, .weights = std::vector<double>(plan.inputs.size())};
  if (tensor.copied) {
    out.weights[tensor.models.empty() ? tensor.base->input : tensor.models[0].input] = 1;
    out.norm = 1;
    return out;
  }
  const BoundTensor bound(plan, tensor);
  const std::size_t models = tensor.models.size();
  const bool deltas = plan.method->view == Method::View::kDeltas;
  const Gram gram(models);
  const auto result = stored_reader(merged, merged.at(tensor.name), "the merged model");
  const std::vector<double> sums =
      bound.task().sum(gram.count(), [&](const Block& block, std::span<double> part) {
        std::vector<std::vector<double>> values(models + 1, std::vector<double>(block.size));
        result->read(block.begin, values[models]);
        const bool has_base = !block.base.empty();
        for (std::size_t i = 0; i <= models; ++i) {
          if (i < models) std::ranges::copy(block.models[i], values[i].begin());
          if (!has_base || (deltas && i < models)) continue;
          ops::subtract(values[i], block.base);
        }
        std::vector<ops::In> vectors(values.begin(), values.end());
        vectors.push_back(block.base);
        gram.add(vectors, part);
      });
  const std::vector<double> weights = solve(gram, sums, models);
  for (std::size_t i = 0; i < models; ++i) out.weights[tensor.models[i].input] += weights[i];
  out.unexplained = residual(gram, sums, weights);
  out.norm = std::sqrt(sums[gram.index(models, models)]);
  const double base = sums[gram.index(models + 1, models + 1)];
  if (base > 0) out.change = out.norm / std::sqrt(base);
  return out;
}

}  // namespace

std::vector<TensorOrigin> trace_origins(const MergePlan& plan, const ModelSource& merged) {
  std::vector<TensorOrigin> out;
  Progress progress("statistics", plan.bytes_written(), Progress::Unit::kBytes);
  for (const PlannedTensor& tensor : plan.tensors) {
    check_interrupted();
    out.push_back(trace(plan, tensor, merged));
    progress.advance(tensor.bytes());
  }
  progress.finish();
  return out;
}

std::vector<std::size_t> merged_inputs(const MergePlan& plan) {
  std::set<std::size_t> used;
  for (const PlannedTensor& tensor : plan.tensors) {
    for (const PlannedSource& source : tensor.models) used.insert(source.input);
  }
  return {used.begin(), used.end()};
}

Json origins_json(const MergePlan& plan, const std::vector<TensorOrigin>& origins) {
  const std::vector<std::size_t> inputs = merged_inputs(plan);
  std::vector<double> sums(plan.inputs.size());
  double whole = 0;
  Json tensors = Json::array();
  for (const TensorOrigin& origin : origins) {
    const double size = origin.norm * origin.norm;
    whole += size;
    Json weights = Json::object();
    for (const std::size_t i : inputs) {
      sums[i] += size * origin.weights[i];
      weights[plan.inputs[i]->text()] = origin.weights[i];
    }
    tensors.push_back({{"name", origin.name},
                       {"weights", weights},
                       {"unexplained", origin.unexplained},
                       {"change", origin.change},
                       {"norm", origin.norm}});
  }
  Json models = Json::array();
  for (const std::size_t i : inputs) {
    models.push_back(
        {{"model", plan.inputs[i]->text()}, {"weight", whole > 0 ? sums[i] / whole : 0}});
  }
  return {{"models", models}, {"tensors", tensors}};
}

}  // namespace lancet
