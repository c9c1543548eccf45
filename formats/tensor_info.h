#pragma once
// One tensor as it lies in a file.

#include <cstdint>
#include <string>
#include <vector>

#include "formats/dtype.h"

namespace lancet {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t>
      shape;                 ///< outermost first, C order (GGUF's reversed dims are turned round)
  std::uint64_t offset = 0;  ///< first byte, from the start of its file
  std::uint64_t bytes = 0;
  std::uint32_t file = 0;  ///< index into Checkpoint::files()

  [[nodiscard]] std::uint64_t elements() const noexcept {
    std::uint64_t n = 1;
    for (const auto d : shape) n *= static_cast<std::uint64_t>(d);
    return n;
  }
};

}  // namespace lancet
