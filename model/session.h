#pragma once
// Several sequences that grow token by token over one cache.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace lancet {

constexpr std::int64_t kPiece = 512;  ///< tokens of a text that are read at a time

/// Whether Session::feed_ahead has the bits of feeding one by one, and its tokens can be taken
/// back: on the CPU, for attention alone (no state spaces), where nothing but our own kernels and
/// operators that treat every row alike is at work (no low-rank parts), and positions turn by the
/// same angle in a text of any length.
[[nodiscard]] bool feeds_ahead(const Decoder& model);

/// A text's keys are all turned as in a whole text of its length, by RoPE that goes by that, too:
/// what is read at once by what it is then, and where a token takes a text over the original
/// length of longrope, what was read before is read again. Dynamic scaling has other frequencies
/// for each further token, which turn that token alone.
class Session {
 public:
  /// Runs the prompts (each at least one id) in pieces of `piece` tokens; only the logits behind
  /// each prompt's last token are computed. `room`: tokens expected behind the longest prompt.
  Session(const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
          std::int64_t room, std::int64_t piece = kPiece);

  /// float32 [rows, vocab] on the CPU: for each row the logits of its next token.
  [[nodiscard]] const at::Tensor& logits() const noexcept { return logits_; }
  [[nodiscard]] std::int64_t rows() const noexcept { return cache_.batch(); }
  /// Whether the keys so far are those of a text of `length` tokens, for every row.
  [[nodiscard]] bool keys_fit(std::int64_t length) const;
  /// More tokens for each row, at least one, in pieces.
  void read(const std::vector<std::vector<std::int32_t>>& more, std::int64_t piece = kPiece);
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
  /// Makes the keys of these rows again, for one token more than they have.
  void read_again(const std::vector<std::int64_t>& rows);

  const Decoder& model_;
  Decoder steps_;  ///< behind what is read
  KvCache cache_;
  std::vector<std::vector<std::int32_t>> texts_;  ///< what the cache holds
  at::Tensor logits_;
};

}  // namespace lancet
