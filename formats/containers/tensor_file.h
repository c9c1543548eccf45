#pragma once
// A weight file, front to back: a header, then tensors at their places. What safetensors and GGUF
// have in common when they are written.

#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"
#include "formats/containers/gguf.h"
#include "formats/containers/safetensors.h"

namespace lancet {

struct TensorFile {
  std::string header;
  std::vector<OutputTensor> tensors;  ///< in the order of the file
  std::uint64_t alignment = 1;        ///< zeros up to a multiple of it stand behind each tensor
  std::uint64_t total = 0;            ///< bytes of the file
};

/// What save_safetensors and save_gguf write; errors as theirs.
[[nodiscard]] TensorFile lay_out_safetensors(std::vector<OutputTensor> tensors,
                                             const std::map<std::string, std::string>& metadata);
[[nodiscard]] TensorFile lay_out_gguf(
    const fs::path& path, const std::vector<std::pair<std::string, GgufValue>>& metadata,
    std::vector<OutputTensor> tensors);

/// Writes it atomically and returns its SHA-256. kInternal where a tensor's `write` emits another
/// number of bytes than it has.
std::string save_tensor_file(const fs::path& path, const TensorFile& file);

/// The same for a path whose folder outlives this process (formats/output_journal.h): a file of
/// StreamFile::kWorthwhile bytes or more that is interrupted leaves `PATH.part`, and in
/// `PATH.marks` what its bytes up to the end of each tensor hash to. A later call with the same
/// `file` goes on behind the last tensor whose bytes are those; `resumed` receives their number.
std::string resume_tensor_file(const fs::path& path, const TensorFile& file,
                               std::uint64_t& resumed);

}  // namespace lancet
