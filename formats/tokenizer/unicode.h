#pragma once
// What the `tokenizers` library takes each code point for: its regex engine (Oniguruma, Unicode
// 16), its Rust predicates and its normalization tables, asked one by one
// (tests/oracle/make_unicode_tables.py). PCRE2 and utf8proc of a given machine are older or newer;
// this table is what makes ids equal everywhere.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lancet {

enum class Category : std::uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCo
};

/// Bits of a code point's class.
enum CharClass : std::uint8_t {
  kLetter = 1,    ///< \p{L}
  kNumber = 2,    ///< \p{N}
  kSpace = 4,     ///< \s: White_Space
  kWord = 8,      ///< \w as single_word of added tokens means it
  kNumeric = 16,  ///< Digits: char::is_numeric of Rust
  kRecent = 32,   ///< PCRE2's own table may disagree: see shadow_for_regex
  kInert = 64,    ///< normalization leaves it alone though utf8proc would not
  kPunct = 128    ///< Punctuation and BertPreTokenizer split it off
};

/// One byte of CharClass bits for each of the 0x110000 code points. Built at first use (about 0.5
/// ms).
[[nodiscard]] const std::uint8_t* char_classes();
[[nodiscard]] Category category(char32_t code_point) noexcept;

/// Lower case of one code point, as char::to_lowercase (at most two code points), appended as
/// UTF-8.
void append_lowercase(std::string& out, char32_t code_point);

/// A text of the same length in which every code point that PCRE2's Unicode tables may put into
/// another general category than ours is replaced by one of our category that no Unicode version
/// moves; nothing if none occurs.
[[nodiscard]] std::optional<std::string> shadow_for_regex(std::string_view text);

/// Code points, for a PCRE2 class, that Oniguruma's [\w] has beyond \p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}.
[[nodiscard]] std::string regex_word_extras();

/// Decodes the code point at text[at] (valid UTF-8) and advances `at`. Inline: the scanners live on
/// it.
[[nodiscard]] inline char32_t decode_at(const char* text, std::size_t& at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint32_t lead = byte(at);
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    const std::uint32_t c = (lead & 0x1FU) << 6U | (byte(at + 1) & 0x3FU);
    at += 2;
    return c;
  }
  if (lead < 0xF0) {
    const std::uint32_t c =
        (lead & 0x0FU) << 12U | (byte(at + 1) & 0x3FU) << 6U | (byte(at + 2) & 0x3FU);
    at += 3;
    return c;
  }
  const std::uint32_t c = (lead & 0x07U) << 18U | (byte(at + 1) & 0x3FU) << 12U |
                          (byte(at + 2) & 0x3FU) << 6U | (byte(at + 3) & 0x3FU);
  at += 4;
  return c;
}

/// Start of the code point that ends at `end` (> 0).
[[nodiscard]] inline std::size_t previous_start(const char* text, std::size_t end) noexcept {
  do {
    --end;
  } while ((static_cast<std::uint8_t>(text[end]) & 0xC0U) == 0x80U);
  return end;
}

}  // namespace lancet
