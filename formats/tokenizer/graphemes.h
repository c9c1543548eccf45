#pragma once
// Extended grapheme clusters (Unicode Standard Annex 29).

#include <cstddef>
#include <string_view>

namespace lancet {

/// End of the cluster that begins at text[begin] (valid UTF-8, begin < text.size()), for clusters
/// of less than six bytes. Longer ones may come in parts: Hangul, flags and Indic conjuncts are not
/// put together.
[[nodiscard]] std::size_t grapheme_end(std::string_view text, std::size_t begin) noexcept;

}  // namespace lancet
