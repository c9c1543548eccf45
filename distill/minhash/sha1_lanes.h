#pragma once
// SHA-1 (FIPS 180-4) of many short texts at a time, one in each lane of the vector unit.

#include <cstdint>
#include <span>
#include <string_view>

namespace lancet {

/// out[i] = the first four bytes of SHA-1(texts[i]) as a little-endian number.
void sha1_first_words(std::span<const std::string_view> texts, std::uint32_t* out);

}  // namespace lancet
