#pragma once
// What turns one pre-tokenized word into tokens. BPE is one of them; each other kind is a file
// beside it.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "formats/tokenizer/vocabulary.h"

namespace lancet {

/// A token and the bytes [begin, end) of the word that it covers.
struct Piece {
  TokenId id;
  std::uint32_t begin;
  std::uint32_t end;
};

class TokenModel {
 public:
  /// Working memory of one thread; a model defines its own.
  class Scratch {
   public:
    virtual ~Scratch() = default;
    /// What encode did so far: queue operations by their depth, trie nodes, pairs compared. Its
    /// time is proportional to them.
    std::uint64_t steps = 0;
  };

  virtual ~TokenModel() = default;
  [[nodiscard]] virtual std::string_view kind() const noexcept = 0;  ///< "BPE", ...
  [[nodiscard]] virtual const Vocabulary& vocabulary() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<Scratch> make_scratch() const = 0;
  /// Appends the tokens of `word` (not empty) to `out`. Thread-safe with one Scratch per thread.
  virtual void encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const = 0;
  /// Adds the members of tokenizer.json's "model" that the pipeline does not keep (vocab, merges).
  virtual void save(Json& model) const = 0;
};

}  // namespace lancet
