#pragma once
// GPT-2's byte alphabet: each byte as one printable code point (0x21-7E, A1-AC, AE-FF stand for
// themselves, the other 68 are U+0100... in byte order).

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lancet {

/// UTF-8 of the code point of each byte (one or two bytes long).
[[nodiscard]] const std::array<std::string, 256>& byte_alphabet();

/// Appends the bytes that `piece` spells and returns true; false, with nothing appended, when a
/// code point of it is not of the alphabet.
bool append_spelled_bytes(std::string_view piece, std::string& bytes);

}  // namespace lancet
