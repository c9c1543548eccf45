#pragma once
// The layers of a model, told from its tensor names alone: a name with an integer component belongs
// to layer N of the family that the text before it names ("model.layers."). Integers after that one
// (experts.7) are part of the layer.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "merge/input.h"

namespace lancet {

struct LayerName {
  std::string_view family;  ///< "model.layers."
  std::int64_t layer = 0;
  std::string_view rest;  ///< ".mlp.up_proj.weight"
};

/// The layer that a tensor's name says, or nothing.
[[nodiscard]] std::optional<LayerName> layer_of(std::string_view name);

/// Whether a tensor outside the layers comes before them, by its name: an embedding.
[[nodiscard]] bool is_before_layers(std::string_view name);

/// Whether a family stores that weight as [d_in, d_out] (the Conv1D of GPT-2). `config`: that of
/// the model, or null.
[[nodiscard]] bool is_transposed(const Json& config, std::string_view name);

class LayerFamilies {
 public:
  explicit LayerFamilies(const std::vector<InputTensor>& tensors);
  /// Layers of a family (largest number + 1), 0 for an unknown one.
  [[nodiscard]] std::int64_t count(std::string_view family) const noexcept;
  /// The family with the most layers; of equal ones that with the most tensors. Empty when there is
  /// none.
  [[nodiscard]] const std::string& main() const noexcept { return main_; }
  [[nodiscard]] std::vector<std::string> names() const;
  /// Position of a layer in [0, 1]: 0 for the first, 1 for the last; 1 where there is one layer
  /// only. 0 for tensors outside layers (also those after the last layer).
  [[nodiscard]] double position(std::string_view tensor) const;

 private:
  struct Family {
    std::int64_t layers = 0;
    std::size_t tensors = 0;
  };
  std::map<std::string, Family, std::less<>> families_;
  std::string main_;
};

}  // namespace lancet
