#pragma once
// Keys and values of tokens already seen. Row b holds lengths()[b] tokens at the front of its
// slots, so rows of different length share a batch without left padding.

#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "model/spec.h"

namespace lancet {

class KvCache {
 public:
  /// Layers [first_layer, spec.layers) get keys and values [batch, kv_heads, capacity, d_head] of
  /// `options`.
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
  /// After the last layer: row b has counts[b] more tokens.
  void advance(const std::vector<std::int64_t>& counts);
  /// Cuts every row back to at most `length` tokens.
  void truncate(const std::vector<std::int64_t>& lengths);
  /// The rows `rows` (repeats allowed) as a cache of their own.
  [[nodiscard]] KvCache select(const std::vector<std::int64_t>& rows) const;
  /// The first `rows` rows, as a view that shares memory with this cache: for reading.
  [[nodiscard]] KvCache front(std::int64_t rows) const;

 private:
  std::int64_t first_layer_ = 0;
  std::int64_t capacity_ = 0;
  std::vector<std::int64_t> lengths_;
  std::vector<std::pair<at::Tensor, at::Tensor>> layers_;
};

}  // namespace lancet
