#pragma once
// Named arrays on their way into an .npz file.

#include <list>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/file.h"
#include "formats/containers/npz.h"

namespace lancet {

class Arrays {
 public:
  Arrays() = default;
  Arrays(Arrays&&) = default;
  Arrays& operator=(Arrays&&) = default;
  /// float64, int64 (or what converts to them without loss: float32, bool).
  void add(const std::string& name, const at::Tensor& value);
  void add(const std::string& name, double value);
  void add(const std::string& name, std::int64_t value);
  /// NumPy unicode, zero-dimensional or [texts].
  void add(const std::string& name, const std::string& text);
  void add(const std::string& name, const std::vector<std::string>& texts);
  void save(const fs::path& path) const { save_npz(path, outputs_); }
  [[nodiscard]] bool empty() const { return outputs_.empty(); }

 private:
  void keep(const std::string& name, const std::string& descr, std::vector<std::int64_t> shape,
            std::string bytes);
  std::list<std::string> bytes_;  ///< addresses stay
  std::vector<NpyOutput> outputs_;
};

}  // namespace lancet
