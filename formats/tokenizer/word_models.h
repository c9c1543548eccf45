#pragma once
// The two models that look words up: WordPiece (Schuster & Nakajima 2012; BERT's greedy longest
// match) and WordLevel (a word is a token or unknown).

#include <memory>
#include <optional>
#include <string>

#include "formats/tokenizer/model.h"
#include "formats/tokenizer/piece_trie.h"

namespace lancet {

class WordPiece : public TokenModel {
 public:
  struct Options {
    std::string unk_token = "[UNK]";
    std::string continuing_subword_prefix = "##";  ///< of every piece but the first of a word
    std::uint64_t max_input_chars_per_word = 100;  ///< a longer word is unknown
  };

  WordPiece(Vocabulary vocabulary, Options options, const Where& where);
  [[nodiscard]] static std::unique_ptr<WordPiece> from_json(const Json& model, const Where& where);

  [[nodiscard]] std::string_view kind() const noexcept override { return "WordPiece"; }
  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }
  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  /// A word that cannot be cut into pieces is the unknown token; Error(kInput) where there is none.
  void encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const override;
  void save(Json& model) const override;

 private:
  /// False where some part of the word has no piece.
  bool cut(std::string_view word, std::uint64_t& steps, std::vector<Piece>& out) const;

  Vocabulary vocabulary_;
  Options options_;
  std::optional<TokenId> unk_;
  PieceTrie first_;      ///< pieces that begin a word
  PieceTrie continued_;  ///< pieces with the prefix, without it
};

class WordLevel : public TokenModel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token);
  [[nodiscard]] static std::unique_ptr<WordLevel> from_json(const Json& model, const Where& where);

  [[nodiscard]] std::string_view kind() const noexcept override { return "WordLevel"; }
  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }
  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  void encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const override;
  void save(Json& model) const override;

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
  std::optional<TokenId> unk_;
};

}  // namespace lancet
