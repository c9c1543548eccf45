#pragma once
// Several sequences that grow token by token over one cache.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace lancet {

class Session {
 public:
  /// Runs the prompts (each at least one id) in pieces of `piece` tokens; only the logits behind
  /// each prompt's last token are computed. `room`: tokens expected behind the longest prompt.
  Session(const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
          std::int64_t room, std::int64_t piece = 512);

  /// float32 [rows, vocab] on the CPU: for each row the logits of its next token.
  [[nodiscard]] const at::Tensor& logits() const noexcept { return logits_; }
  [[nodiscard]] std::int64_t rows() const noexcept { return cache_.batch(); }
  /// More tokens for each row, at least one, in pieces.
  void read(const std::vector<std::vector<std::int32_t>>& more, std::int64_t piece = 512);
  /// Cuts every row back to its first `length` tokens; errors as KvCache::truncate.
  void truncate(std::int64_t length);
  /// One more token for each row.
  void feed(const std::vector<std::int32_t>& next);
  /// Goes on with these rows only.
  void keep(const std::vector<std::int64_t>& rows);

 private:
  const Decoder& model_;
  KvCache cache_;
  at::Tensor logits_;
};

}  // namespace lancet
