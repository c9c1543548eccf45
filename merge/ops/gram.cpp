#include "merge/ops/gram.h"

#include <cmath>

namespace lancet::ops {
namespace {

std::vector<In> vectors_of(const Block& block, bool base_first) {
  std::vector<In> out;
  if (base_first) out.emplace_back(block.base);
  for (const Out& model : block.models) out.emplace_back(model);
  return out;
}

Gram from_triangle(std::size_t n, const std::vector<double>& sums) {
  Gram gram(n);
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) gram.at(i, j) = gram.at(j, i) = sums[at++];
  }
  return gram;
}

}  // namespace

double Gram::norm(std::size_t i) const { return std::sqrt(at(i, i)); }

double Gram::dot(const std::vector<double>& a, const std::vector<double>& b) const {
  double sum = 0;
  for (std::size_t i = 0; i < n_; ++i) {
    for (std::size_t j = 0; j < n_; ++j) sum += a[i] * b[j] * at(i, j);
  }
  return sum;
}

Gram gram_of(const MergeTask& task, bool base_first) {
  const std::size_t n = task.models() + (base_first ? 1 : 0);
  return from_triangle(n,
                       task.sum(n * (n + 1) / 2, [&](const Block& block, std::span<double> sums) {
                         const std::vector<In> x = vectors_of(block, base_first);
                         std::size_t at = 0;
                         for (std::size_t i = 0; i < n; ++i) {
                           for (std::size_t j = i; j < n; ++j) sums[at++] += dot(x[i], x[j]);
                         }
                       }));
}

Gram gram_of(const std::vector<In>& vectors) {
  std::vector<double> sums;
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    for (std::size_t j = i; j < vectors.size(); ++j) sums.push_back(dot(vectors[i], vectors[j]));
  }
  return from_triangle(vectors.size(), sums);
}

}  // namespace lancet::ops
