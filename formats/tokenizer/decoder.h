#pragma once
// Decoders of tokenizer.json: ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder,
// WordPiece, CTC, Sequence.

#include <memory>
#include <string>
#include <vector>

#include "formats/tokenizer/where.h"

namespace lancet {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Turns pieces into texts, whose concatenation is the decoded text; a step may join them.
  virtual void apply(std::vector<std::string>& pieces) const = 0;
};

class Decoders {
 public:
  /// JSON null: pieces are joined with blanks, as the library does.
  Decoders(const Json& description, const Where& where);

  [[nodiscard]] std::string decode(std::vector<std::string> pieces) const;
  /// The only step is ByteLevel: the text is the bytes that the pieces spell, one after the other.
  [[nodiscard]] bool is_byte_level() const noexcept { return byte_level_; }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
  bool byte_level_ = false;
  bool joins_with_blanks_;
};

/// Appends the bytes of one piece under ByteLevel: what it spells, or its own UTF-8 where it is not
/// of the alphabet.
void append_piece_bytes(std::string_view piece, std::string& bytes);

}  // namespace lancet
