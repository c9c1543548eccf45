#pragma once
// Dense models made the experts of one sparse mixture: mergekit-moe's recipes. Everything but the
// MLPs comes from the base; each expert gives its MLPs; a router per layer is made from prompts or
// random values. Only gates from hidden states need a forward pass, which is the caller's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "formats/model_writer.h"
#include "merge/input.h"
#include "merge/moe_family.h"
#include "merge/recipe.h"

namespace lancet {

/// How the row of the router that stands for an expert is made, [d_model].
enum class GateMode {
  kHidden,         ///< what enters the layer at the last token of its positive prompts, their mean,
                   ///< less that of its negative ones, scaled to norm 1
  kHiddenAverage,  ///< the same, averaged over the tokens of each prompt
  kCheapEmbed,     ///< base embeddings of the tokens of its positive prompts, less those of its
                   ///< negative ones, scaled to norm 1: the same in every layer
  kRandom,         ///< standard normal
  kUniformRandom   ///< uniform in +- 1 / sqrt(d_model)
};

struct MoeExpert {
  RecipeModel model;
  std::vector<std::string> positive, negative;  ///< prompts
  double noise_scale = 0;     ///< standard deviation of normal noise added to its MLPs
  double residual_scale = 1;  ///< factor of its down projections
  RecipePlace place;
};

struct MoeRecipe {
  std::string source, text;
  fs::path directory;
  RecipeModel base;
  std::vector<MoeExpert> experts, shared;
  GateMode gate = GateMode::kHidden;
  std::int64_t experts_per_token = 2;
  std::optional<DType> dtype;
  std::string architecture;  ///< empty: by the base's model_type
  std::vector<std::string> warnings;
};

/// kUsage with line and column.
[[nodiscard]] MoeRecipe parse_moe_recipe(const std::string& text, const std::string& source,
                                         const fs::path& directory);
[[nodiscard]] MoeRecipe read_moe_recipe(const fs::path& path);

/// Fails at a place of the recipe.
[[noreturn]] void refuse_moe(const MoeRecipe& recipe, RecipePlace place, ErrorKind kind,
                             const std::string& message, std::string hint = {});

/// Rows of routers: [one layer, or one for all][expert][d_model].
using GateRows = std::vector<std::vector<std::vector<double>>>;

/// The mixture, ready to be written. Holds its inputs open.
class Moe {
 public:
  /// Reads headers only. kInput, kMismatch with both sides named.
  Moe(MoeRecipe recipe, std::uint64_t seed);

  [[nodiscard]] const MoeRecipe& recipe() const noexcept { return recipe_; }
  [[nodiscard]] const MergeInput& base() const noexcept { return *base_; }
  [[nodiscard]] std::size_t layers() const noexcept { return static_cast<std::size_t>(layers_); }
  [[nodiscard]] std::size_t width() const noexcept { return static_cast<std::size_t>(width_); }
  /// Gates from prompts (merge/moe_gates.h), before the tensors are written.
  void set_gates(GateRows gates);

  [[nodiscard]] const MoeFamily& family() const noexcept { return *family_; }
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept {
    return recipe_.warnings;
  }
  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::size_t tensors() const noexcept { return tensors_.size(); }
  /// Tensors with Hugging Face names; valid as long as this.
  [[nodiscard]] std::vector<OutputTensor> take_tensors() { return std::move(tensors_); }
  [[nodiscard]] std::map<std::string, std::string> side_files() const;
  /// MergeInput::identity of the base, the experts and the shared ones, for lancet.json.
  [[nodiscard]] Json identities() const;
  [[nodiscard]] const std::string& recipe_text() const noexcept { return recipe_.text; }

 private:
  MoeRecipe recipe_;
  std::uint64_t seed_;
  const MoeFamily* family_ = nullptr;
  std::unique_ptr<MergeInput> base_;
  std::vector<std::unique_ptr<MergeInput>> experts_, shared_;
  std::int64_t layers_ = 0, width_ = 0;
  GateRows gates_;  ///< of experts, then shared ones; empty for random modes
  std::vector<OutputTensor> tensors_;

  void open_inputs();
  void check_names(const MergeInput& input, const MoeExpert& expert) const;
  void add_base();
  void add_layer(std::int64_t layer);
  void add_mlps(const MergeInput& input, const MoeExpert& expert, std::int64_t layer,
                const std::array<std::string, 3>& names, std::uint32_t number);
  void add_router(std::string name, std::size_t first, std::size_t count, std::int64_t layer);
  [[nodiscard]] std::vector<double> router_values(std::size_t first, std::size_t count,
                                                  std::size_t layer, const Random& random) const;
  [[nodiscard]] DType dtype_of(const InputTensor& tensor) const;
};

}  // namespace lancet
