#pragma once
// Pieces of mathematical text, for the files of distill/verify/maths.h.

#include <cctype>
#include <optional>
#include <string_view>

#include "distill/text/trim.h"

namespace lancet::maths_text {

inline constexpr std::size_t npos = std::string_view::npos;

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

/// What stands between the brace at text[open] and its partner, or nothing.
inline std::optional<std::string_view> braced(std::string_view text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return text.substr(open + 1, i - open - 1);
    }
  }
  return std::nullopt;
}

}  // namespace lancet::maths_text
