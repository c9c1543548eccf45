// A SentencePiece model as the metadata of a GGUF file: tokenizer.ggml.model "llama" (BPE) or "t5"
// (Unigram).

#include <fmt/format.h>

#include "core/text.h"
#include "formats/containers/gguf.h"
#include "formats/tokenizer/sentencepiece.h"

namespace lancet {
namespace {

using Type = SentencePieceModel::Type;

[[noreturn]] void refuse(std::string_view key, const std::string& message) {
  fail(ErrorKind::kInput, "tokenizer", fmt::format("tokenizer.ggml.{}: {}", key, message));
}

std::vector<SentencePieceModel::Piece> read_pieces(const GgufHeader& header) {
  const auto* tokens = header.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) refuse("tokens", "expected the pieces, found none");
  const std::vector<double> scores = header.numbers("tokenizer.ggml.scores");
  const std::vector<std::int64_t> types = header.integers("tokenizer.ggml.token_type");
  if (scores.size() != tokens->size())
    refuse("scores", fmt::format("expected {} entries, found {}", tokens->size(), scores.size()));
  if (!types.empty() && types.size() != tokens->size())
    refuse("token_type",
           fmt::format("expected {} entries, found {}", tokens->size(), types.size()));
  std::vector<SentencePieceModel::Piece> pieces(tokens->size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (find_invalid_utf8((*tokens)[i])) refuse("tokens", fmt::format("token {} is not UTF-8", i));
    const std::int64_t type = types.empty() ? 1 : types[i];
    if (type < 1 || type > 6) refuse("token_type", fmt::format("[{}]: {} is no type", i, type));
    pieces[i] = {(*tokens)[i], static_cast<float>(scores[i]), static_cast<Type>(type)};
  }
  return pieces;
}

std::optional<TokenId> read_id(const GgufHeader& header, std::string_view name,
                               std::size_t pieces) {
  const std::int64_t id = header.integer(fmt::format("tokenizer.ggml.{}_token_id", name), -1);
  if (id < 0 || static_cast<std::uint64_t>(id) >= pieces) return std::nullopt;
  return static_cast<TokenId>(id);
}

}  // namespace

SentencePieceModel sentencepiece_from_gguf(const GgufHeader& header) {
  SentencePieceModel model;
  model.unigram = header.string("tokenizer.ggml.model") == "t5";
  model.pieces = read_pieces(header);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    Type& type = model.pieces[i].type;
    model.byte_fallback = model.byte_fallback || type == Type::kByte;
    if (type == Type::kUnknown) model.unk = static_cast<TokenId>(i);
    // Converters mark padding rows so; llama.cpp looks all of them up.
    if (type == Type::kUnused && !model.unigram) type = Type::kNormal;
  }
  for (const std::int64_t byte : header.integers("tokenizer.ggml.precompiled_charsmap"))
    model.charsmap += static_cast<char>(byte);
  model.add_dummy_prefix = header.boolean("tokenizer.ggml.add_space_prefix", true);
  model.remove_extra_whitespaces = header.boolean("tokenizer.ggml.remove_extra_whitespaces", false);
  model.add_bos = header.boolean("tokenizer.ggml.add_bos_token", !model.unigram);
  model.add_eos = header.boolean("tokenizer.ggml.add_eos_token", model.unigram);
  const std::size_t count = model.pieces.size();
  if (const auto unk = read_id(header, "unknown", count)) model.unk = unk;
  model.bos = read_id(header, "bos", count);
  model.eos = read_id(header, "eos", count);
  if (!model.bos && count > 1 && !model.unigram) model.bos = 1;
  if (!model.eos && count > 2) model.eos = model.unigram ? 1 : 2;
  return model;
}

}  // namespace lancet
