#pragma once
// What plans tell of the memory that copying a model takes (formats/model_writer.h).

#include <map>
#include <string>
#include <vector>

#include "formats/model_writer.h"

namespace lancet {

/// Bytes of weights in `tensors`; of those that become Q8_0 (WriteOptions) where `quantized`.
[[nodiscard]] std::uint64_t weight_bytes(const std::vector<OutputTensor>& tensors,
                                         bool quantized = false);

/// What write_model puts beside them: side files of a directory, metadata of a GGUF.
[[nodiscard]] std::uint64_t beside_bytes(const fs::path& out,
                                         const std::map<std::string, std::string>& side_files);

/// Peak memory of write_model with tensors of copy_tensor: program and headers, the blocks under
/// way, of large files the writer's, and where they are `recoded` those of values too. Measured:
/// within a fifth.
[[nodiscard]] std::uint64_t copying_memory(const fs::path& out, std::uint64_t weights,
                                           const std::map<std::string, std::string>& side_files,
                                           bool recoded);

}  // namespace lancet
