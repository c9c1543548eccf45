#pragma once
// Unigram language model. Kudo 2018, arXiv:1804.10959, as the `tokenizers` library applies it: of
// all ways to cut a word into pieces, the one with the largest sum of scores (Viterbi over the
// bytes).

#include <memory>
#include <optional>
#include <vector>

#include "formats/tokenizer/model.h"
#include "formats/tokenizer/piece_trie.h"

namespace lancet {

class Unigram : public TokenModel {
 public:
  struct Options {
    std::optional<TokenId> unk;  ///< of characters without a piece; runs of them are one token
    bool byte_fallback = false;  ///< such a run becomes the tokens "<0xNN>" where all of them exist
    /// Sums are of the scores as the library reads their text: to within a last digit, which
    /// decides between cuts whose sums are equal but for rounding.
    bool as_library = false;
    // As SentencePiece itself:
    bool single_precision = false;  ///< sums are rounded to float32
    std::vector<bool> hidden;       ///< by id: pieces that text is never cut into; may be empty
    std::optional<double> lowest_score;  ///< else that of all pieces
  };

  /// `scores`: by id. Ids are 0, 1, 2 ... Error(kInput) for a vocabulary of more than 32 MiB.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, Options options, const Where& where);
  [[nodiscard]] static std::unique_ptr<Unigram> from_json(const Json& model, const Where& where);

  [[nodiscard]] std::string_view kind() const noexcept override { return "Unigram"; }
  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }
  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  void encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const override;
  void save(Json& model) const override;

 private:
  struct Node;
  class UnigramScratch;

  /// Returns the steps it took.
  std::uint64_t find_best_path(std::string_view word, std::vector<Node>& best) const;
  void add_unknown(std::string_view word, std::uint32_t begin, std::uint32_t end,
                   std::vector<Piece>& out) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;   ///< as they are written
  std::vector<double> weights_;  ///< as they are summed
  Options options_;
  PieceTrie trie_;
  double unknown_score_ = 0;
  ByteTokens byte_tokens_;
};

}  // namespace lancet
