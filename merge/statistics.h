#pragma once
// Who gave what: each tensor of a merged model explained by its inputs. One more pass over inputs
// and result.
//   d   = merged - base,  d_i = x_i - base      (without a base: the tensors themselves)
//   a   = argmin |d - sum_i a_i d_i|            effective weights, float64
//   |d - sum_i a_i d_i| / |d|                   what no mixture of the inputs explains

#include <string>
#include <vector>

#include "core/json.h"
#include "merge/plan.h"

namespace lancet {

struct TensorOrigin {
  std::string name;
  std::vector<double> weights;  ///< effective, one for each of MergePlan::inputs; 0 for the base
  double unexplained = 0;       ///< 0 to 1
  double change = 0;            ///< |d| / |base|, or 0 without a base
  double norm = 0;              ///< |d|; where it is 0 the weights say nothing
};

/// `merged` is what `plan` wrote. Copied tensors have weight 1 for the input they come from. Of
/// several mixtures that are equally near the one with the smallest weights.
[[nodiscard]] std::vector<TensorOrigin> trace_origins(const MergePlan& plan,
                                                      const ModelSource& merged);

/// Inputs that are models of some tensor, not only its base: into MergePlan::inputs.
[[nodiscard]] std::vector<std::size_t> merged_inputs(const MergePlan& plan);

/// {models: [{model, weight}], tensors: [{name, weights: {model: a}, unexplained, change, norm}]};
/// a model's weight is its mean over the tensors, each counted by |d|^2.
[[nodiscard]] Json origins_json(const MergePlan& plan, const std::vector<TensorOrigin>& origins);

/// One HTML page: the recipe, and a layer x module map of each model's effective weight, of what is
/// unexplained and of the change.
[[nodiscard]] std::string origins_page(const RecipeFile& recipe, const MergePlan& plan,
                                       const std::vector<TensorOrigin>& origins);

}  // namespace lancet
