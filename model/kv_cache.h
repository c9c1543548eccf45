#pragma once
// What layers keep of tokens already seen: keys and values, or the state of a state space. Row b
// holds lengths()[b] tokens at the front of its slots, so rows of different length share a batch
// without left padding.

#include <array>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/spec.h"

namespace lancet {

/// What a state space keeps of all tokens before; float32.
struct SsmState {
  at::Tensor conv;  ///< [batch, d_conv - 1, channels]: the last inputs of the convolution
  at::Tensor scan;  ///< [batch, heads, d_head, d_state]
};

class KvCache {
 public:
  /// Layers [first_layer, spec.layers) get keys and values [batch, kv_heads, capacity, d_head] of
  /// `options`, or a state of zeros.
  KvCache(const DecoderSpec& spec, std::int64_t batch, std::int64_t capacity,
          const at::TensorOptions& options, std::int64_t first_layer = 0);

  [[nodiscard]] const at::Tensor& keys(std::int64_t layer) const;
  [[nodiscard]] const at::Tensor& values(std::int64_t layer) const;
  [[nodiscard]] const std::vector<std::int64_t>& lengths() const noexcept { return lengths_; }
  [[nodiscard]] std::int64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::int64_t batch() const noexcept {
    return static_cast<std::int64_t>(lengths_.size());
  }

  /// Writes [batch, kv_heads, tokens, d_head] of one layer behind each row's length (grows the
  /// capacity).
  void append(std::int64_t layer, const at::Tensor& k, const at::Tensor& v);
  [[nodiscard]] const SsmState& state(std::int64_t layer) const;
  /// The state behind a pass's tokens goes here; `advance` makes it the layer's own.
  [[nodiscard]] SsmState& next_state(std::int64_t layer);

  /// After the last layer: row b has counts[b] more tokens.
  void advance(const std::vector<std::int64_t>& counts);
  /// Row b is read for a text of lengths[b] tokens, part by part: RoPE that goes by the length of a
  /// text (dynamic, longrope) turns for that many, and for more when there are more. Until said
  /// again.
  void expect(std::vector<std::int64_t> lengths);
  /// Of what expect() said, 0 where nothing was.
  [[nodiscard]] std::int64_t expected(std::size_t row) const {
    return expected_.empty() ? 0 : expected_.at(row);
  }
  /// Cuts every row back to at most `length` tokens. A state can only go back to none:
  /// Error(kMismatch) otherwise.
  void truncate(const std::vector<std::int64_t>& lengths);
  /// The rows `rows` (repeats allowed) as a cache of their own.
  [[nodiscard]] KvCache select(const std::vector<std::int64_t>& rows) const;
  /// The tokens of `rows` become those of `other`'s rows, which are no longer than they were.
  void replace(const std::vector<std::int64_t>& rows, const KvCache& other);
  /// The first `rows` rows, as a view that shares memory with this cache: for reading.
  [[nodiscard]] KvCache front(std::int64_t rows) const;

 private:
  /// One or the other; what a layer does not keep is undefined.
  struct Layer {
    at::Tensor keys, values;
    SsmState state, next;

    [[nodiscard]] std::array<at::Tensor*, 4> parts() {
      return {&keys, &values, &state.conv, &state.scan};
    }
  };
  /// Zeros for a row's states.
  void forget(std::int64_t row);
  [[nodiscard]] const Layer& layer_at(std::int64_t layer) const;

  std::int64_t first_layer_ = 0;
  std::int64_t capacity_ = 0;
  std::vector<std::int64_t> lengths_, expected_;
  std::vector<Layer> layers_;
};

}  // namespace lancet
