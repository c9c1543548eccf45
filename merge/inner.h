#pragma once
// A merge method inside another one: on matrices in memory, as deltas from zero.

#include <functional>
#include <string>
#include <vector>

#include "merge/task.h"

namespace lancet {

struct InnerMerge {
  const Method* method = nullptr;
  /// The value of a parameter for a model (0 for those of the tensor).
  std::function<double(const MergeParameter& parameter, std::size_t model)> value;
  const Linalg* linalg = nullptr;
  Semantics semantics = Semantics::kFixed;
  std::uint64_t seed = 0;
};

/// `name` stands for the tensor where the method is random. Matrices of equal shape, at least one.
[[nodiscard]] Matrix merge_matrices(const InnerMerge& inner, const std::string& name,
                                    const std::vector<Matrix>& matrices);

}  // namespace lancet
