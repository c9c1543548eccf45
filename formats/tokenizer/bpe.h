#pragma once
// Byte pair encoding. Sennrich et al. 2016, arXiv:1508.07909, as the `tokenizers` library applies
// it: symbols are the word's code points (or bytes); of all adjacent pairs that merge, the lowest
// rank, leftmost first, until none is left. O(n log n) in the length of a word.

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/tokenizer/adjacency.h"
#include "formats/tokenizer/merge_table.h"
#include "formats/tokenizer/model.h"

namespace lancet {

struct BpeOptions {
  std::string unk_token;  ///< empty: symbols without a token are dropped
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  ///< a word that is a piece is that token
  bool raw_bytes = false;      ///< words are bytes; pieces spell them in the byte alphabet
};

class Bpe : public TokenModel {
 public:
  /// `ranks` as MergeTable's; the merges are in their order.
  Bpe(Vocabulary vocabulary, std::vector<Merge> merges, BpeOptions options,
      std::span<const std::uint32_t> ranks = {});

  /// From tokenizer.json's "model". `raw_bytes` as PreTokenizers::raw_bytes.
  [[nodiscard]] static std::unique_ptr<Bpe> from_json(const Json& model, const Where& where,
                                                      bool raw_bytes);

  [[nodiscard]] std::string_view kind() const noexcept override { return "BPE"; }
  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }
  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  void encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const override;
  void save(Json& model) const override;

 private:
  class SymbolReader;
  class BpeScratch;

  void encode_cached(std::string_view word, BpeScratch& scratch, std::vector<Piece>& out) const;
  /// Cuts a long word where no token reaches across.
  void encode_cut(std::string_view word, BpeScratch& scratch, std::vector<Piece>& out) const;
  void encode_uncached(std::string_view word, BpeScratch& scratch, std::vector<Piece>& out) const;
  [[nodiscard]] std::optional<TokenId> whole_word(std::string_view word) const;
  /// Each returns the steps it took.
  std::uint64_t merge_short(std::vector<Piece>& symbols) const;
  std::uint64_t merge_long(std::vector<Piece>& symbols) const;

  Vocabulary vocabulary_;
  std::vector<Merge> merges_;  ///< by rank
  MergeTable table_;
  BpeOptions options_;
  std::optional<TokenId> unk_;
  std::optional<Adjacency> adjacency_;  ///< where words may be cut; not for words of bytes
  ByteTokens fallback_ids_;
  std::array<TokenId, 256> alphabet_ids_{};  ///< token of each byte's letter, or -1
};

/// All but vocab and merges of tokenizer.json's "model".
[[nodiscard]] BpeOptions read_bpe_options(const Json& model, const Where& where, bool raw_bytes);

/// Reads merges as "a b" strings or [a, b] pairs and resolves them. Error(kInput) names a merge
/// whose parts or result are not in the vocabulary.
class MergeReader {
 public:
  MergeReader(const Vocabulary& vocabulary, std::size_t prefix_bytes, const Where& where);

  void add(std::string_view left, std::string_view right);
  /// "a b"; lines that begin with "#version" are skipped.
  void add_line(std::string_view line);
  /// Resolves what is left. Errors of a merge come here at the latest.
  [[nodiscard]] std::vector<Merge> take();

 private:
  static constexpr std::size_t kAtOnce = 64;

  /// The parts of a merge and what they join to, one after the other in waiting_text_.
  struct Waiting {
    std::uint32_t left;   ///< bytes
    std::uint32_t right;  ///< bytes
  };

  void resolve_waiting();

  const Vocabulary& vocabulary_;
  std::size_t prefix_bytes_;
  const Where& where_;
  std::size_t most_;  ///< merges: each cut of each piece once
  std::vector<Merge> merges_;
  std::vector<Waiting> waiting_;
  std::string waiting_text_;
};

}  // namespace lancet
