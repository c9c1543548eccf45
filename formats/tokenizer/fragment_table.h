#pragma once
// What each id adds to a decoded text, worked out once: decoding is then a copy. For pipelines
// whose steps look at one piece at a time, byte tokens apart.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/tokenizer/decoder.h"
#include "formats/tokenizer/function_ref.h"
#include "formats/tokenizer/vocabulary.h"

namespace lancet {

class FragmentTable {
 public:
  /// `piece(id)` for each id below `ids`: what the decoder gets for it, or nothing; `special(id)`:
  /// left out on request.
  FragmentTable(const Decoders& decoders, std::size_t ids,
                FunctionRef<std::optional<std::string_view>(TokenId)> piece,
                FunctionRef<bool(TokenId)> special);

  /// Equal to Decoders::decode of the pieces, with the same `decoders` and `piece`.
  [[nodiscard]] std::string decode(
      const Decoders& decoders, std::span<const TokenId> ids, bool skip_special,
      FunctionRef<std::optional<std::string_view>(TokenId)> piece) const;

 private:
  enum class Kind : std::uint8_t { kMissing, kText, kByte };
  struct Entry {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    Kind kind = Kind::kMissing;
    bool special = false;
    char byte = 0;
  };

  std::string text_;
  std::vector<Entry> entries_;
};

}  // namespace lancet
