#pragma once
// A value and what it was made from. A function whose backward pass needs the value, where others
// keep the sources anyway, makes it again instead of keeping it, too: norms and activations take a
// third of what a layer would leave behind and next to no time.

#include <functional>
#include <utility>
#include <vector>

#include <ATen/Tensor.h>

namespace lancet {

struct Derived {
  using Make = std::function<at::Tensor(const std::vector<at::Tensor>& sources)>;

  // NOLINTNEXTLINE(google-explicit-constructor): a tensor is a value without sources
  Derived(at::Tensor v) : value(std::move(v)) {}
  Derived(at::Tensor v, std::vector<at::Tensor> from, Make how);

  at::Tensor value;
  std::vector<at::Tensor> sources;  ///< without a graph; empty: the value has to be kept
  Make make = {};                   ///< the same bits as the value
};

/// What a function keeps of an input, and how its backward pass gets it back.
class KeptInput {
 public:
  explicit KeptInput(const Derived& input);
  /// To be saved in front of everything else.
  [[nodiscard]] const std::vector<at::Tensor>& to_save() const noexcept { return to_save_; }
  /// Forgets the tensors, which are the graph's to keep.
  void saved() { to_save_.clear(); }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  /// From what was saved, which may go on behind it.
  [[nodiscard]] at::Tensor value(const std::vector<at::Tensor>& saved) const;

 private:
  std::vector<at::Tensor> to_save_;
  std::size_t count_;
  Derived::Make make_;
};

}  // namespace lancet
