#pragma once
// Second moments C = E[k k^T] of a layer's keys (input of its down projection), float64 [d_ff,
// d_ff].

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <ATen/ATen.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

/// Every field that can move a digit of the statistics; its hash names the cached file.
struct CovarianceIdentity {
  std::string weights_sha256;  ///< embedding, all blocks below the layer, and the layer up to its
                               ///< down projection
  std::string config_sha256;   ///< what the forward pass does with them
  std::string tokenizer_sha256;
  std::string text_sha256;
  std::int64_t layer = 0;
  std::int64_t window = 0;      ///< tokens at which a document is cut
  std::int64_t max_tokens = 0;  ///< tokens after which collecting ends; 0 = the whole text
  std::string dtype;            ///< of activations
  std::string backend;          ///< device, LibTorch version, CPU capability
  std::int64_t version = 2;     ///< of this algorithm

  [[nodiscard]] std::string key() const;  ///< 64 hex digits over all fields
  [[nodiscard]] Json json() const;        ///< for the ledger
};

struct Covariance {
  at::Tensor matrix;        ///< empty = identity
  std::int64_t tokens = 0;  ///< 0 = unknown
  Json identity;            ///< for the ledger
};

struct CovarianceText {
  fs::path path;  ///< documents separated by empty lines
  std::int64_t window = 512;
  std::int64_t max_tokens = 0;
};

/// The text that ships with lancet.
[[nodiscard]] CovarianceText shipped_covariance_text();

[[nodiscard]] CovarianceIdentity covariance_identity(const Decoder& model,
                                                     const std::string& config_sha256,
                                                     const Tokenizer& tokenizer, std::int64_t layer,
                                                     const CovarianceText& text);

/// Runs the blocks below `layer` over the text: products of float32 blocks of rows, added up in
/// float64 in a fixed order. `tokens` receives the number of keys.
[[nodiscard]] at::Tensor collect_second_moment(const Decoder& model, const Tokenizer& tokenizer,
                                               std::int64_t layer, const CovarianceText& text,
                                               std::int64_t& tokens);

/// collect_second_moment through the cache in user_cache_dir()/covariance.
[[nodiscard]] Covariance automatic_covariance(const Decoder& model,
                                              const std::string& config_sha256,
                                              const Tokenizer& tokenizer, std::int64_t layer,
                                              const CovarianceText& text);

/// The layer that a name of a file or tensor tells: the number behind "layers", "layer", "h",
/// "blocks" or "block" between dots ("transformer.h.17.mlp.c_proj_float32_mom2_100.npz").
[[nodiscard]] std::optional<std::int64_t> layer_in_name(std::string_view name);

/// A matrix of another tool: ROME's .npz (mom2.mom2 is a sum: divided by mom2.count), or a
/// .safetensors with one square tensor, or several of which one is named as the layer
/// (layer_in_name, else ".LAYER." inside the name or "LAYER" at its end). kMismatch when names tell
/// another layer or the size is not `d_ff`, kInput when the file is damaged, kNumeric when it is
/// not symmetric.
[[nodiscard]] Covariance read_covariance(const fs::path& path, std::int64_t layer,
                                         std::int64_t d_ff);
/// What read_covariance refuses by headers alone.
void check_covariance(const fs::path& path, std::int64_t layer, std::int64_t d_ff);

}  // namespace lancet
