#pragma once
// One tensor of a plan: which tensors of which models it is made of, their shapes and types, the
// parameters that hold for it. The half of the planner below the order of layers
// (merge/planner.cpp).

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "merge/planner.h"
#include "merge/tokens.h"

namespace lancet {

/// A run of layers, or whole models: what each source contributes, with the parameters around it.
struct Part {
  std::vector<const RecipeSource*> sources;  ///< as listed
  const RecipeModel* base = nullptr;
  std::vector<const RecipeValues*>
      outer;  ///< slice, module, recipe: the first that has a value wins
  RecipePlace place;
};

/// A tensor of one source: its name there.
using NameIn = std::function<std::string(const RecipeSource* source, const MergeInput& input)>;

class TensorPlanner {
 public:
  TensorPlanner(const RecipeFile& file, const Recipe& recipe, const OpenedInputs& opened,
                const MergeOptions& options);

 protected:
  const RecipeFile& file_;
  const Recipe& recipe_;
  const OpenedInputs& opened_;
  std::shared_ptr<MergePlan> plan_;
  std::map<std::string, std::size_t, std::less<>>
      index_;  ///< RecipeModel::text -> MergePlan::inputs
  std::optional<TokenPlan> tokens_;

  /// Adds the tensor `name`, at `position` of its layers, made of what `name_in` says for each
  /// source of `part`.
  void add_tensor(const Part& part, const std::string& name, double position,
                  const NameIn& name_in);
  /// Number of models and presence of a base, against what the method takes.
  void check_part(const Part& part) const;
  /// The tensor of that name, or the embedding where the model ties its head to it.
  [[nodiscard]] const InputTensor* find_or_tied(const MergeInput& model,
                                                const std::string& name) const;
  void set_dtype(PlannedTensor& out) const;
  void check_architectures() const;
  /// Fused experts [experts, d_out, d_in] are no matrix to a method of matrices.
  void warn_of_stacked_matrices();
  /// Vocabularies that are merged row by row are the same.
  void warn_of_rows();
  /// LiNeS over the layers of the result.
  void scale_layers();

  [[nodiscard]] const MergeInput& input(const RecipeModel& model) const {
    return *opened_.at(model.text);
  }
  /// The model whose names, config and tokenizer the result has.
  [[nodiscard]] const RecipeModel& reference() const;
  [[noreturn]] void refuse(ErrorKind kind, RecipePlace place, const std::string& message,
                           std::string hint = {}) const;
  void warn(RecipePlace place, const std::string& message);

 private:
  using Levels = std::vector<const RecipeValues*>;
  [[nodiscard]] double value_of(const MergeParameter& parameter, const Levels& levels,
                                std::string_view tensor, double position, const std::string& owner,
                                RecipePlace place) const;
  [[nodiscard]] std::vector<double> values_of(bool per_model, const Levels& levels,
                                              std::string_view tensor, double position,
                                              const std::string& owner, RecipePlace place) const;
  [[nodiscard]] const InputTensor& need(const MergeInput& model, const std::string& name,
                                        const PlannedTensor& out, const Part& part) const;
  void check_shape(const PlannedTensor& out, const MergeInput& model,
                   const std::vector<std::int64_t>& shape, const Part& part) const;
  [[nodiscard]] PlannedSource source(const RecipeModel& model, const std::string& name,
                                     PlannedTensor& out, const Part& part) const;
  /// Parameters that do not go together on this tensor.
  void check_parameters(const Part& part, const PlannedTensor& out) const;
  void take_rows(PlannedSource& planned, const std::string& name, const PlannedTensor& out,
                 const Part& part) const;
};

}  // namespace lancet
