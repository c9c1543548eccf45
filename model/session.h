#pragma once
// Several sequences that grow token by token over one cache.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace lancet {

/// Whether Session::feed_ahead has the bits of feeding one by one, and its tokens can be taken
/// back: on the CPU, for attention alone (no state spaces), where nothing but our own kernels and
/// operators that treat every row alike is at work (no low-rank parts), and positions turn by the
/// same angle in a text of any length.
[[nodiscard]] bool feeds_ahead(const Decoder& model);

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
  /// Of the only row: up to kFewTokens tokens, one after the other, in one pass. logits() are [ids,
  /// vocab] then, a row behind each token. See feeds_ahead().
  void feed_ahead(const std::vector<std::int32_t>& ids);
  /// Tokens of the only row.
  [[nodiscard]] std::int64_t length() const { return cache_.lengths().front(); }
  /// Goes on with these rows only.
  void keep(const std::vector<std::int64_t>& rows);

 private:
  const Decoder& model_;
  Decoder steps_;  ///< behind what is read
  KvCache cache_;
  at::Tensor logits_;
};

}  // namespace lancet
