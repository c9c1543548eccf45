#pragma once
// The parts of a Tokenizer and how they are put together. Private to this folder.

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "formats/tokenizer/added_tokens.h"
#include "formats/tokenizer/declared_tokens.h"
#include "formats/tokenizer/decoder.h"
#include "formats/tokenizer/fragment_table.h"
#include "formats/tokenizer/model.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/post_processor.h"
#include "formats/tokenizer/pre_tokenizer.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {

/// What one encode call works with; kept for the next one.
struct EncodeScratch {
  TextArena arena;
  std::unique_ptr<TokenModel::Scratch> model;
  std::vector<Piece> pieces;
};

/// Lends each concurrent call its own scratch.
class ScratchPool {
 public:
  [[nodiscard]] std::unique_ptr<EncodeScratch> take(const TokenModel& model);
  void give_back(std::unique_ptr<EncodeScratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

/// What a tokenizer is made of.
struct TokenizerParts {
  Json description;                        ///< tokenizer.json without the model's vocab and merges
  std::unique_ptr<Normalizer> normalizer;  ///< may be null
  PreTokenizers pre;
  std::unique_ptr<TokenModel> model;
  AddedTokens added;
};

/// Normalizer and added tokens as the description has them, with those that are `declared` beside
/// it. Throws as Tokenizer::from_json.
[[nodiscard]] TokenizerParts described_parts(const Json& description, const Where& where,
                                             PreTokenizers pre, std::unique_ptr<TokenModel> model,
                                             const DeclaredTokens& declared = {});
/// Puts the ids that tokens got where `list` has null.
void number_tokens(const AddedTokens& tokens, Json& list);

struct Tokenizer::Impl {
  /// Post-processor and decoder come from the description.
  Impl(TokenizerParts parts, const Where& where);

  /// Appends what the piece of `id` spells as bytes; nothing for an unknown or left-out id.
  void append_bytes(TokenId id, bool skip_special, std::string& bytes) const;
  /// What the decoder gets for `id`.
  [[nodiscard]] std::optional<std::string_view> piece(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const;
  /// Null where the decoder is not simple or ids are too sparse. Made at the first call.
  [[nodiscard]] const FragmentTable* fragments() const;

  Json description;                        ///< without vocab and merges
  std::unique_ptr<Normalizer> normalizer;  ///< may be null
  PreTokenizers pre;
  std::unique_ptr<TokenModel> model;
  PostProcessor post;
  Decoders decoders;
  AddedTokens added;
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  TokenId max_id = -1;

  mutable ScratchPool scratch;
  mutable std::once_flag json_made;
  mutable Json json;

 private:
  void spell_pieces();

  bool dense_ = false;  ///< tables by id are worth their memory
  mutable std::once_flag fragments_made_;
  mutable std::optional<FragmentTable> fragments_;

  std::string spelled_;  ///< of a byte-level decoder: the bytes of every id, one after the other
  std::vector<std::uint32_t> spelled_ends_;  ///< by id; empty where ids are too sparse
  std::vector<bool> special_;                ///< by id, beside spelled_ends_
};

/// Throws as Tokenizer::from_json.
[[nodiscard]] std::shared_ptr<Tokenizer::Impl> make_tokenizer(const Json& tokenizer_json,
                                                              std::string_view source,
                                                              const DeclaredTokens& declared = {});

/// The same from the text of tokenizer.json: faster, and without the whole of it in memory.
[[nodiscard]] std::shared_ptr<Tokenizer::Impl> make_tokenizer(std::string_view text,
                                                              std::string_view source,
                                                              const DeclaredTokens& declared = {});
void check_version(const Json& description, const Where& where);
/// `type`: of the model.
[[nodiscard]] PreTokenizers make_pre_tokenizers(const Json& description, std::string_view type,
                                                const Where& where);

/// A SentencePiece model or a tiktoken rank file, known by its first bytes; `source` names it.
/// Error(kInput) for anything else.
[[nodiscard]] std::shared_ptr<Tokenizer::Impl> read_model_file(std::string_view bytes,
                                                               std::string_view source,
                                                               const DeclaredTokens& declared = {});

}  // namespace lancet
