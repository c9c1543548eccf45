#pragma once
// Tokenizers: the pipeline of tokenizer.json (normalizer, pre-tokenizer, model, post-processor,
// decoder, added tokens), equal to the `tokenizers` library's ids and text. Immutable after
// construction; encode and decode are thread-safe.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"
#include "formats/containers/gguf.h"
#include "formats/model_source.h"

namespace lancet {

using TokenId = std::int32_t;

struct Encoding {
  std::vector<TokenId> ids;
  /// Byte range [begin, end) of each token in the input text; special tokens that a post-processor
  /// adds have an empty range.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> offsets;
};

class Tokenizer {
 public:
  /// Throws kInput (broken file) or kMismatch (a component that is not supported, named).
  [[nodiscard]] static Tokenizer from_json(const Json& tokenizer_json, std::string_view source);
  /// Builds the same pipeline from GGUF metadata (model "gpt2" with a known `pre`).
  [[nodiscard]] static Tokenizer from_gguf(const GgufHeader& header);
  /// The tokenizer of any MODEL.
  [[nodiscard]] static Tokenizer open(const ModelSource& source);
  /// The same without its weights: a directory with tokenizer.json, tokenizer.model (SentencePiece)
  /// or a tiktoken rank file, one of these files itself, or a GGUF file.
  [[nodiscard]] static Tokenizer open(const fs::path& model);

  /// `special`: let the post-processor add its tokens (BOS ...). Invalid UTF-8 is Error(kInput).
  [[nodiscard]] Encoding encode(std::string_view text, bool special = true) const;
  [[nodiscard]] std::string decode(const std::vector<TokenId>& ids, bool skip_special = true) const;

  [[nodiscard]] std::int64_t vocab_size() const noexcept;  ///< largest id + 1
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
  [[nodiscard]] std::string token(TokenId id) const;  ///< the piece as stored ("Ġthe")
  /// The bytes that a token adds to a text which it does not begin, perhaps not whole characters:
  /// " the" of "Ġthe" and of "▁the", one byte of "<0x0A>". Nothing for an id that no token has.
  [[nodiscard]] std::optional<std::string> spelling(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> bos() const;
  [[nodiscard]] std::optional<TokenId> eos() const;
  [[nodiscard]] std::string_view kind() const noexcept;  ///< "BPE", ...
  /// tokenizer.json that the `tokenizers` library loads with the same ids.
  /// Truncation and padding are left out; made at the first call.
  [[nodiscard]] const Json& json() const;

  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);

 private:
  friend class StreamDecoder;
  std::shared_ptr<const Impl> impl_;
};

/// Streaming decoding: holds back bytes of incomplete UTF-8 sequences. The pieces together are
/// decode() of all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  [[nodiscard]] std::string push(TokenId id);  ///< text that is now certain
  [[nodiscard]] std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::vector<TokenId> pending_;  ///< ids whose text is not all certain, or the last one as context
  std::string bytes_;             ///< of a byte-level decoder: an incomplete sequence
  std::size_t emitted_ = 0;       ///< bytes of the text of pending_ that were returned
};

}  // namespace lancet
