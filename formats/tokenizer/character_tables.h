#pragma once
// What the less common pieces of the `tokenizers` library take each code point for
// (tests/oracle/make_character_tables.py asked it one by one).

#include <cstdint>

#include "formats/tokenizer/function_ref.h"

namespace lancet {

enum class CharTrait {
  kPunctuation,  ///< split off by Punctuation and BertPreTokenizer
  kBertRemoved,  ///< removed by clean_text of BertNormalizer
  kBertMark,     ///< removed by strip_accents of BertNormalizer
  kCombining,    ///< removed by StripAccents
  kExtending     ///< belongs to the grapheme cluster of what stands before it
};

/// Binary search over ranges.
[[nodiscard]] bool has_trait(char32_t code_point, CharTrait trait) noexcept;

void for_each_with(CharTrait trait, FunctionRef<void(char32_t)> each);

/// Script as UnicodeScripts knows it, a number; 0 goes with any script.
[[nodiscard]] std::uint8_t script_of(char32_t code_point) noexcept;

}  // namespace lancet
