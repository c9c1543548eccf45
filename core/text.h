#pragma once
// Text helpers: UTF-8, escaping for messages, suggestions for misspelt names.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// Byte offset of the first invalid UTF-8 sequence (RFC 3629: no surrogates, no overlong forms), or
/// nothing.
[[nodiscard]] std::optional<std::size_t> find_invalid_utf8(std::string_view text) noexcept;
/// Decodes the code point at `at` (valid UTF-8 assumed) and advances `at`.
[[nodiscard]] char32_t next_code_point(std::string_view text, std::size_t& at) noexcept;
void append_utf8(std::string& out, char32_t code_point);
/// Each maximal invalid sequence becomes U+FFFD (Unicode 3.9, as Rust's from_utf8_lossy does).
[[nodiscard]] std::string utf8_lossy(std::string_view bytes);

/// Control characters and invalid bytes as \n, \t, \xNN; cut at `limit` bytes with "...". For
/// messages.
[[nodiscard]] std::string printable(std::string_view text, std::size_t limit = 120);

/// The candidate nearest to `word` (edit distance <= 1/3 of its length + 1), or nothing.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string_view>& candidates);
/// "did you mean 'x'?" or "".
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       const std::vector<std::string_view>& candidates);

}  // namespace lancet
