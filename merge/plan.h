#pragma once
// A recipe resolved against its models, from headers only: every tensor of the result with the
// tensors it is made of and the parameters that hold for it. What does not fit together is found
// here, before a weight is read.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/dtype.h"
#include "merge/input.h"
#include "merge/recipe.h"
#include "merge/task.h"
#include "merge/tokens.h"

namespace lancet {

struct MergeOptions {
  Semantics semantics = Semantics::kFixed;
  std::uint64_t seed = 0;
  std::optional<DType> dtype;  ///< of the result, above the recipe's
  bool allow_crimes =
      false;  ///< merge models of different architectures whose tensors happen to fit
  const Linalg* linalg = nullptr;  ///< where needs_linalg() says so; must outlive the plan
};

/// One tensor of one model, with the per-model parameters in the order of Method::parameters.
struct PlannedSource {
  std::size_t input = 0;  ///< into MergePlan::inputs
  const InputTensor* tensor = nullptr;
  std::vector<double> values;
  std::shared_ptr<const RowMap>
      rows;  ///< of an embedding whose rows are matched by token, else null
  std::vector<const InputTensor*> donors;  ///< for each input, where `rows` takes from it

  [[nodiscard]] std::vector<std::int64_t> shape() const;
};

struct PlannedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype = DType::kF32;
  std::optional<DType> kept;  ///< of a call of an expression: that of its inputs
  std::optional<PlannedSource> base;
  std::vector<PlannedSource> models;
  std::vector<double> values;  ///< of the tensor, in the order of Method::parameters
  bool copied =
      false;  ///< integers, and modules that the recipe does not name: the first source's bytes
  bool embedding = false;   ///< of tokens or positions, or a head
  bool transposed = false;  ///< a weight that is stored [d_in, d_out]
  double delta_scale = 1;   ///< of the merged delta, after everything else (LiNeS)

  [[nodiscard]] std::uint64_t elements() const noexcept;
  [[nodiscard]] std::uint64_t bytes() const;
};

struct MergePlan {
  const Method* method = nullptr;
  MergeOptions options;
  RecipePost post;
  std::optional<DType>
      load_dtype;  ///< mergekit semantics: inputs are rounded to the recipe's dtype first
  std::vector<std::shared_ptr<const MergeInput>> inputs;
  std::vector<PlannedTensor> tensors;             ///< sorted by name
  Json config;                                    ///< null when the reference has none
  std::map<std::string, std::string> side_files;  ///< of the result, without config.json
  std::vector<std::string> warnings;
  std::uint64_t vocabulary_memory = 0;  ///< that tokenizers took while they were read, at the most

  [[nodiscard]] std::uint64_t bytes_read() const;     ///< of inputs, each tensor once
  [[nodiscard]] std::uint64_t bytes_written() const;  ///< of weights
  /// Method::survey of all tensors, made at the first call. Thread-safe.
  [[nodiscard]] const std::vector<double>& survey() const;

 private:
  mutable std::once_flag surveyed_;
  mutable std::vector<double> survey_;
};

/// True when a document's method or post-processing works on matrices: MergeOptions::linalg must be
/// given to merge (not to plan).
[[nodiscard]] bool needs_linalg(const RecipeFile& file);

/// Throws kUsage (recipe), kInput (a model) or kMismatch (models that do not fit together).
[[nodiscard]] std::shared_ptr<const MergePlan> plan_merge(const RecipeFile& file,
                                                          const MergeOptions& options);

/// One tensor of a plan with its inputs opened.
class BoundTensor {
 public:
  BoundTensor(const MergePlan& plan, const PlannedTensor& tensor);
  [[nodiscard]] const MergeTask& task() const noexcept { return *task_; }
  [[nodiscard]] MergeTask& task() noexcept { return *task_; }
  /// Runs the statistics passes at the first call. Thread-safe.
  [[nodiscard]] const Emit& emit() const;

 private:
  const Method& method_;
  RecipePost post_;
  double delta_scale_;
  std::vector<std::unique_ptr<TensorReader>> readers_;
  std::unique_ptr<MergeTask> task_;
  mutable std::once_flag prepared_;
  mutable Emit emit_;
};

}  // namespace lancet
