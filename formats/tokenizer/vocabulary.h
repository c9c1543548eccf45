#pragma once
// The pieces of a model and their ids: one arena of text, a flat hash from piece to id, a table
// from id to piece.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/where.h"

namespace lancet {

class Vocabulary {
 public:
  void reserve(std::size_t pieces, std::size_t bytes);
  /// Adds a piece; build() must follow the last one. Error(kInput) for an id below 0, a piece
  /// longer than 64 KiB or more than 4 Mi pieces.
  void add(std::string_view piece, TokenId id, const Where& where);
  /// Makes the tables. Error(kInput) for a piece or an id that occurs twice. Ids may have holes.
  void build(const Where& where);

  [[nodiscard]] std::optional<TokenId> find(std::string_view piece) const noexcept;
  /// find() of many pieces, whose waits for memory overlap; -1 where there is none.
  void find_all(std::span<const std::string_view> pieces, std::span<TokenId> ids) const noexcept;
  /// Nothing for an id that no piece has. The view lives as long as the vocabulary.
  [[nodiscard]] std::optional<std::string_view> piece(TokenId id) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] TokenId max_id() const noexcept { return max_id_; }  ///< -1 when empty
  [[nodiscard]] std::size_t bytes() const noexcept { return text_.size(); }
  /// Ids in ascending order.
  [[nodiscard]] std::vector<TokenId> ids() const;

 private:
  struct Entry {
    std::uint32_t begin;
    std::uint32_t length;
    TokenId id;
  };
  struct Slot {
    std::uint32_t hash;
    std::uint32_t entry;  ///< index + 1; 0 is free
  };

  [[nodiscard]] std::string_view text_of(const Entry& entry) const noexcept {
    return {text_.data() + entry.begin, entry.length};
  }
  [[nodiscard]] const Entry* entry_of(TokenId id) const noexcept;
  [[nodiscard]] TokenId find_hashed(std::string_view piece, std::uint64_t hash) const noexcept;
  void build_hash(const Where& where);

  std::string text_;
  std::vector<Entry> entries_;  ///< by id once built
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> dense_;  ///< id -> entry + 1, where ids are dense enough; else empty
  TokenId max_id_ = -1;
};

/// The token "<0xNN>" of each byte, or -1.
using ByteTokens = std::array<TokenId, 256>;
[[nodiscard]] ByteTokens find_byte_tokens(const Vocabulary& vocabulary);

/// A 64-bit hash of bytes, the same on every machine.
[[nodiscard]] std::uint64_t hash_bytes(std::string_view bytes) noexcept;

}  // namespace lancet
