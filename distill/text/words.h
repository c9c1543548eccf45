#pragma once
// Texts as filters compare them: normalised, cut into words, hashed. Input is valid UTF-8.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// NFC, lower case, every run of white space one blank, none at the ends.
[[nodiscard]] std::string normalise_text(std::string_view text);

/// Maximal runs of letters, digits and marks of a normalised text; every ideograph and kana is a
/// word of its own. Views into `normalised`.
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view normalised);

/// 64 bits of a byte string: multiply and fold by blocks of 16 bytes (as wyhash does), for tables;
/// not for identity.
[[nodiscard]] std::uint64_t hash_text(std::string_view text, std::uint64_t seed = 0) noexcept;
/// hash_text of each word.
[[nodiscard]] std::vector<std::uint64_t> hash_words(const std::vector<std::string_view>& words);
/// One hash for each run of `n` hashes, in order; empty when there are fewer.
[[nodiscard]] std::vector<std::uint64_t> hash_ngrams(const std::vector<std::uint64_t>& hashes,
                                                     std::size_t n);
/// Splitmix64's finaliser: spreads every bit over all.
[[nodiscard]] std::uint64_t mix64(std::uint64_t value) noexcept;

}  // namespace lancet
