#pragma once
// Quantised weights of a Hugging Face directory as the tensors they stand for. What is decoded:
//   fp8, fbgemm_fp8   T in 8-bit floats, T_scale_inv or T_scale: w = T * scale of its block, row
//                     or tensor (DeepSeek-V3: blocks of 128 x 128; the _inv multiplies, too)
//   compressed-tensors  the same, and T in int8, in the formats of 8 bits
//   mxfp4             X_blocks [experts, out, in / 32, 16] and X_scales [experts, out, in / 32] of
//                     gpt-oss: X [experts, in, out], 32 values of 4 bits with a power of two
// Source: docs of transformers' FineGrainedFP8Config and Mxfp4Config, of compressed-tensors.
// Activations are not quantised as these models' own kernels do: only the weights are.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "formats/checkpoint.h"

namespace lancet {

class ScaledWeights {
 public:
  /// `config`: config.json with its quantization_config. kMismatch for a way that is not decoded,
  /// naming those that are; kInput for scales that do not fit their tensors.
  [[nodiscard]] static std::shared_ptr<const ScaledWeights> open(
      std::shared_ptr<const Checkpoint> checkpoint, const Json& config);

  /// The checkpoint's tensors with decoded ones in the place of what they are made of: their dtype
  /// is the one that config.json names (bfloat16, float16, else float32), which is what copies get.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] bool decodes(std::string_view name) const noexcept;
  /// Elements [begin, begin + out.size()) of a decoded tensor, unrounded.
  void read(std::string_view name, std::uint64_t begin, std::span<float> out) const;
  /// Tells the system that elements of a decoded tensor have been used.
  void release(std::string_view name, std::uint64_t begin, std::uint64_t count) const;

 private:
  struct Entry {
    TensorInfo weight, scale;
    bool mxfp4 = false;
    std::int64_t rows = 0, columns = 0;  ///< of one of the matrices, as they lie in the file
    std::int64_t block_rows = 1, block_columns = 1;  ///< that share a scale
    std::int64_t scale_rows = 1, scale_columns = 1;
    bool each = false;  ///< every matrix of the stack has scales of its own
  };

  explicit ScaledWeights(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)) {}
  void add_scaled(const TensorInfo& weight, const TensorInfo& scale, const Json& quantization);
  void add_mxfp4(const TensorInfo& blocks, const TensorInfo& scales);
  void collect(const Json& config);
  void read_scaled(const Entry& entry, std::uint64_t begin, std::span<float> out) const;
  void read_mxfp4(const Entry& entry, std::uint64_t begin, std::span<float> out) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Entry, std::less<>> entries_;
};

/// quantization_config in a few words: "fp8, blocks of 128 x 128".
[[nodiscard]] std::string quantization_text(const Json& quantization);

}  // namespace lancet
