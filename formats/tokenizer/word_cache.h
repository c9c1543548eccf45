#pragma once
// Words that were tokenized before, with their tokens. Of one thread; direct-mapped, so bounded.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <vector>

#include "formats/tokenizer/model.h"

namespace lancet {

class WordCache {
 public:
  static constexpr std::size_t kWordBytes = 32;
  static constexpr std::size_t kTokens = 6;

  /// Zeroed pages come from the system when they are first used.
  WordCache() : entries_(static_cast<Entry*>(std::calloc(kEntries, sizeof(Entry)))) {
    if (!entries_) throw std::bad_alloc();
  }

  /// Appends the tokens of `word` (at most kWordBytes long) to `out` if they are known.
  bool find(std::string_view word, std::vector<Piece>& out) const {
    Key key{};
    const Entry& entry = entries_.get()[slot_of(word, key)];
    if (entry.length != word.size() || std::memcmp(entry.key, key, kWordBytes) != 0) return false;
    std::uint32_t begin = 0;
    for (std::size_t i = 0; i < entry.tokens; ++i) {
      out.push_back({entry.ids[i], begin, entry.ends[i]});
      begin = entry.ends[i];
    }
    return true;
  }

  /// Stores the tokens of `word` if they are few and cover it without a gap.
  void insert(std::string_view word, std::span<const Piece> pieces) {
    if (pieces.empty() || pieces.size() > kTokens) return;
    std::uint32_t covered = 0;
    for (const Piece& piece : pieces) {
      if (piece.begin != covered) return;
      covered = piece.end;
    }
    Key key{};
    Entry& entry = entries_.get()[slot_of(word, key)];
    std::memcpy(entry.key, key, kWordBytes);
    entry.length = static_cast<std::uint8_t>(word.size());
    entry.tokens = static_cast<std::uint8_t>(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      entry.ids[i] = pieces[i].id;
      entry.ends[i] = static_cast<std::uint8_t>(pieces[i].end);
    }
  }

 private:
  static constexpr unsigned kBits = 15;
  static constexpr std::size_t kEntries = std::size_t{1} << kBits;
  using Key = std::uint64_t[kWordBytes / 8];

  struct Entry {
    std::uint64_t key[kWordBytes / 8];  ///< the word, zero-padded
    TokenId ids[kTokens];
    std::uint8_t ends[kTokens];  ///< of each token in the word
    std::uint8_t length;         ///< bytes of the word; 0: unused
    std::uint8_t tokens;
  };
  static_assert(sizeof(Entry) == 64);

  static std::size_t slot_of(std::string_view word, Key& key) {
    std::memcpy(key, word.data(), word.size());
    std::uint64_t hash = word.size();
    for (const std::uint64_t part : key)
      hash = (hash ^ part) * 0x9E3779B97F4A7C15ULL ^ (hash >> 32U);
    return (hash * 0xD1B54A32D192ED03ULL) >> (64U - kBits);
  }

  struct Free {
    void operator()(Entry* entries) const noexcept { std::free(entries); }
  };
  std::unique_ptr<Entry, Free> entries_;
};

}  // namespace lancet
