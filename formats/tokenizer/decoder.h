#pragma once
// Decoders of tokenizer.json: ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder,
// WordPiece, CTC, Sequence.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/where.h"

namespace lancet {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  /// Turns pieces into texts, whose concatenation is the decoded text; a step may join them.
  virtual void apply(std::vector<std::string>& pieces) const = 0;
};

/// Changes each piece by itself.
class PiecewiseDecoder : public TokenDecoder {
 public:
  /// `first`: the piece begins the text.
  virtual void change(std::string& piece, bool first) const = 0;
  void apply(std::vector<std::string>& pieces) const final {
    for (std::size_t i = 0; i < pieces.size(); ++i) change(pieces[i], i == 0);
  }
};

/// "<0xNN>" with exactly two hexadecimal digits: the byte.
[[nodiscard]] std::optional<char> byte_token(std::string_view piece);

class Decoders {
 public:
  /// JSON null: pieces are joined with blanks, as the library does.
  Decoders(const Json& description, const Where& where);

  [[nodiscard]] std::string decode(std::vector<std::string> pieces) const;
  /// The only step is ByteLevel: the text is the bytes that the pieces spell, one after the other.
  [[nodiscard]] bool is_byte_level() const noexcept { return byte_level_; }

  // Most pipelines: piecewise steps, then perhaps ByteFallback, then perhaps Fuse and steps on the
  // whole text.
  [[nodiscard]] bool is_simple() const noexcept { return simple_; }
  /// What a piece becomes by the piecewise steps of a simple pipeline.
  [[nodiscard]] std::string fragment(std::string_view piece, bool first) const;
  [[nodiscard]] bool has_byte_fallback() const noexcept { return byte_fallback_; }
  /// The steps after Fuse.
  [[nodiscard]] std::string finish(std::string text) const;

 private:
  std::vector<std::unique_ptr<TokenDecoder>> steps_;
  void find_shape();

  bool byte_level_ = false;
  bool joins_with_blanks_;
  bool simple_ = false;
  bool byte_fallback_ = false;
  std::vector<const PiecewiseDecoder*> piecewise_;  ///< steps at the beginning
  std::size_t whole_ = 0;                           ///< first step on the whole text
};

/// Appends the bytes of one piece under ByteLevel: what it spells, or its own UTF-8 where it is not
/// of the alphabet.
void append_piece_bytes(std::string_view piece, std::string& bytes);

}  // namespace lancet
