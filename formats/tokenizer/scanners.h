#pragma once
// Hand-written scanners for the pre-tokenizer patterns that most models use. Each equals its
// regular expression as Oniguruma reads it (Unicode 16 classes); tests compare them with PCRE2 on
// random strings.

#include <cstddef>
#include <string_view>

namespace lancet {

/// GPT-2 (the pattern inside ByteLevel), Llama 3 and Qwen 2. They differ in contractions, digits
/// and newlines.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// End of the match that begins at text[at] (at < text.size(), valid UTF-8). The patterns match
/// everywhere, so successive calls cover the text without gaps.
using ScanFunction = std::size_t (*)(std::string_view text, std::size_t at);

[[nodiscard]] std::size_t scan_gpt2(std::string_view text, std::size_t at);
[[nodiscard]] std::size_t scan_llama3(std::string_view text, std::size_t at);
[[nodiscard]] std::size_t scan_qwen2(std::string_view text, std::size_t at);

/// The scanner for exactly this pattern, or null.
[[nodiscard]] ScanFunction find_scanner(std::string_view pattern) noexcept;

}  // namespace lancet
