#pragma once
// safetensors: a strict reader (construction = validation) and the canonical writer, byte-identical
// with the reference library's. Rules and limits: docs/formats.md.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/file.h"
#include "formats/tensor_info.h"

namespace lancet {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in order of offset; offsets from the start of the file
  std::map<std::string, std::string> metadata;
};

/// Validates and lists a whole file (or its first bytes: `file_size` is the true length). `source`
/// names it in errors: kInput with tensor name and byte offset. Allocates nothing beyond a constant
/// factor of `header`.
[[nodiscard]] SafetensorsHeader parse_safetensors(Bytes header, std::uint64_t file_size,
                                                  std::string_view source);

/// A tensor to be written; `write` is called once, in file order, and must emit exactly dtype_bytes
/// bytes.
struct OutputTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::function<void(const std::function<void(Bytes)>& emit)> write;
};

/// Puts the tensors in canonical order (dtype descending, then name ascending) and returns what
/// stands before their bytes; `total` receives the size of the whole file.
[[nodiscard]] std::string safetensors_header(std::vector<OutputTensor>& tensors,
                                             const std::map<std::string, std::string>& metadata,
                                             std::uint64_t& total);

/// Writes one file atomically (metadata keys sorted; {"format":"pt"} is the caller's to give).
/// Tensors are put in canonical order: dtype descending, then name ascending. Returns the file's
/// SHA-256, computed while writing.
std::string save_safetensors(const fs::path& path, std::vector<OutputTensor> tensors,
                             const std::map<std::string, std::string>& metadata);

}  // namespace lancet
