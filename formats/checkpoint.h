#pragma once
// Any readable model on disk, opened without reading weights: a Hugging Face directory (single or
// sharded safetensors, or PyTorch's .bin), one .safetensors, one .gguf (also split), an index
// .json. Raw names, raw bytes.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "formats/containers/gguf.h"
#include "formats/tensor_info.h"

namespace lancet {

/// A directory, or a file by itself.
enum class CheckpointForm { kHuggingFace, kSafetensors, kPyTorch, kGguf };

class Checkpoint {
 public:
  /// Throws kInput (missing, damaged, unknown form; with a hint). Both directions of a shard index
  /// are checked, shard names never leave the directory.
  [[nodiscard]] static std::shared_ptr<const Checkpoint> open(const fs::path& model);

  [[nodiscard]] CheckpointForm form() const noexcept { return form_; }
  /// Without configuration and tokenizer.
  [[nodiscard]] bool weights_alone() const noexcept {
    return form_ == CheckpointForm::kSafetensors || form_ == CheckpointForm::kPyTorch;
  }
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  [[nodiscard]] const std::vector<MappedFile>& files() const noexcept { return files_; }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const TensorInfo* find(std::string_view name) const noexcept;
  /// The stored bytes, mapped.
  [[nodiscard]] Bytes data(const TensorInfo& tensor) const;
  /// Header of a GGUF file, else null.
  [[nodiscard]] const GgufHeader* gguf() const noexcept { return gguf_ ? &*gguf_ : nullptr; }
  /// safetensors `__metadata__` of the first file, as a JSON object (empty for GGUF).
  [[nodiscard]] const Json& metadata() const noexcept { return metadata_; }
  /// Text of a file beside the weights ("config.json"), if this is a directory that has it.
  [[nodiscard]] std::optional<std::string> side_file(std::string_view name) const;

 private:
  Checkpoint() = default;
  CheckpointForm form_ = CheckpointForm::kHuggingFace;
  fs::path path_;
  std::vector<MappedFile> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint32_t> by_name_;  ///< positions in tensors_, sorted by name
  std::optional<GgufHeader> gguf_;
  Json metadata_;
  friend class CheckpointOpener;
};

/// Text of the file `name` in a model directory, if there is one; links must stay in the directory.
[[nodiscard]] std::optional<std::string> read_side_file(const fs::path& directory,
                                                        std::string_view name);

}  // namespace lancet
