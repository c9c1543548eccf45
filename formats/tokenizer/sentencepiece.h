#pragma once
// SentencePiece models (Kudo & Richardson 2018, arXiv:1808.06226): the protobuf file
// `tokenizer.model`, and the pipeline that both it and a GGUF vocabulary of this kind become. Ids
// equal SentencePiece's own; control tokens in a text are recognised, as in transformers
// (SentencePiece reads them as text).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/declared_tokens.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/where.h"

namespace lancet {

struct SentencePieceModel {
  enum class Type {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };

  std::vector<Piece> pieces;  ///< by id
  bool unigram = true;        ///< else BPE
  bool byte_fallback = false;
  std::string charsmap;  ///< empty: the text stays as it is
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_is_suffix = false;
  std::optional<TokenId> unk, bos, eos;
  bool add_bos = false;  ///< encode puts bos in front
  bool add_eos = false;
};

/// Reads the protobuf. Error(kInput) for a damaged file, kMismatch for a model that is neither
/// Unigram nor BPE.
[[nodiscard]] SentencePieceModel parse_sentencepiece(std::string_view bytes, const Where& where);

/// tokenizer.ggml.* of model "llama" or "t5". Error(kInput) for metadata that do not fit together.
[[nodiscard]] SentencePieceModel sentencepiece_from_gguf(const GgufHeader& header);

/// `declared`: tokens besides the pieces. Error(kInput): a piece twice, an unknown token that is
/// missing.
[[nodiscard]] std::shared_ptr<Tokenizer::Impl> make_sentencepiece(
    const SentencePieceModel& model, const Where& where, const DeclaredTokens& declared = {});

}  // namespace lancet
