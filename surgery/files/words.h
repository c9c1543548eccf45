#pragma once

#include <string_view>

namespace lancet {

/// Where `word` first stands in `text` between word borders, npos where it does not (or is empty).
/// Words are of ASCII letters, digits and all bytes beyond ASCII.
[[nodiscard]] std::size_t find_word(std::string_view text, std::string_view word);

}  // namespace lancet
