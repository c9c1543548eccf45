#pragma once
// A model as a merge sees it: named tensors whose values can be read, a configuration and side
// files. It may be a checkpoint, or the result of an earlier document of the recipe.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "merge/reader.h"
#include "merge/recipe.h"

namespace lancet {

struct InputTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype = DType::kF32;  ///< as stored
  std::optional<DType> kept;  ///< of a call's result: what is written of it where no recipe says
};

class MergeInput {
 public:
  explicit MergeInput(std::string text) : text_(std::move(text)) {}
  virtual ~MergeInput() = default;
  MergeInput(const MergeInput&) = delete;
  MergeInput& operator=(const MergeInput&) = delete;

  /// The model as the recipe names it.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// Sorted by name.
  [[nodiscard]] virtual const std::vector<InputTensor>& tensors() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<TensorReader> reader(const InputTensor& tensor) const = 0;
  /// The stored bytes of a tensor, empty where they are not plain values in order.
  [[nodiscard]] virtual Bytes raw(const InputTensor& tensor) const = 0;
  /// config.json, null when there is none.
  [[nodiscard]] virtual const Json& config() const noexcept = 0;
  [[nodiscard]] virtual std::map<std::string, std::string> side_files() const = 0;
  [[nodiscard]] virtual std::optional<std::string> chat_template() const = 0;
  /// {"model", "files": [{file, bytes, ...}]}: what tells this input from another, from headers
  /// only.
  [[nodiscard]] virtual Json identity() const = 0;
  /// Adds "sha256" to the files of identity(): reads them whole.
  virtual void add_hashes(Json& identity) const = 0;

  /// The model card beside the weights, empty where there is none.
  [[nodiscard]] virtual std::string card() const { return {}; }

  /// The files that its values come from.
  [[nodiscard]] virtual std::vector<fs::path> files() const { return {}; }

  /// As a MODEL of the command line; empty where it is no checkpoint.
  [[nodiscard]] virtual fs::path path() const { return {}; }

  [[nodiscard]] const InputTensor* find(std::string_view name) const noexcept;

 private:
  std::string text_;
};

/// Opens what a recipe names: a path relative to `directory`, or a repository id of the local
/// Hugging Face cache
/// (`owner/name`, `owner/name@revision`). kInput (headed by `operation`) when there is no such
/// model, with the places that were tried.
[[nodiscard]] std::unique_ptr<MergeInput> open_input(const RecipeModel& model,
                                                     const fs::path& directory,
                                                     std::string_view operation = "merge");

}  // namespace lancet
