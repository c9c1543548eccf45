#pragma once
// Strings as Python sees them: sequences of code points, with the Unicode properties its methods
// use. Every text is valid UTF-8.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lancet::jinja {

/// Bytes of the code point whose first byte is `lead`.
[[nodiscard]] constexpr std::size_t code_point_bytes(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
[[nodiscard]] std::size_t count_code_points(std::string_view text) noexcept;
/// Byte offset of code point `index`, or text.size() when there are fewer.
[[nodiscard]] std::size_t byte_offset(std::string_view text, std::size_t index) noexcept;

/// prefix and `digits` hexadecimal digits in lower case.
void append_hex(std::string& out, std::string_view prefix, char32_t value, int digits);

/// First occurrence at or after `from`, in linear time, or npos.
[[nodiscard]] std::size_t find_text(std::string_view text, std::string_view part,
                                    std::size_t from = 0) noexcept;

[[nodiscard]] bool is_space(char32_t c) noexcept;      ///< str.isspace
[[nodiscard]] bool is_printable(char32_t c) noexcept;  ///< str.isprintable
[[nodiscard]] bool is_alpha(char32_t c) noexcept;
[[nodiscard]] bool is_decimal(char32_t c) noexcept;
[[nodiscard]] bool is_digit(char32_t c) noexcept;
[[nodiscard]] bool is_numeric(char32_t c) noexcept;
[[nodiscard]] bool is_upper(char32_t c) noexcept;
[[nodiscard]] bool is_lower(char32_t c) noexcept;
[[nodiscard]] bool is_title(char32_t c) noexcept;
[[nodiscard]] bool is_word(char32_t c) noexcept;  ///< \w of re

/// str.isupper and str.islower of a whole text.
[[nodiscard]] bool is_upper_text(std::string_view text) noexcept;
[[nodiscard]] bool is_lower_text(std::string_view text) noexcept;

/// Skips white space (or any of `chars` when given) at the ends.
[[nodiscard]] std::string_view strip_left(std::string_view text);
[[nodiscard]] std::string_view strip_right(std::string_view text);
[[nodiscard]] std::string_view strip_left(std::string_view text, std::string_view chars);
[[nodiscard]] std::string_view strip_right(std::string_view text, std::string_view chars);

// str.upper, lower, capitalize, title, swapcase with the full (one to many) mappings.
[[nodiscard]] std::string to_upper(std::string_view text);
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] std::string capitalize(std::string_view text);
[[nodiscard]] std::string title_case(std::string_view text);
[[nodiscard]] std::string swap_case(std::string_view text);
[[nodiscard]] std::string case_fold(std::string_view text);

}  // namespace lancet::jinja
