#include "formats/tokenizer/byte_alphabet.h"

#include "core/text.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::uint16_t, 256> kCodePoints = [] {
  std::array<std::uint16_t, 256> out{};
  std::uint16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    out[byte] = stands_for_itself(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return out;
}();

/// Byte of each code point below 0x144, or -1.
constexpr std::array<std::int16_t, 0x144> kBytes = [] {
  std::array<std::int16_t, 0x144> out{};
  for (std::int16_t& byte : out) byte = -1;
  for (unsigned byte = 0; byte < 256; ++byte)
    out[kCodePoints[byte]] = static_cast<std::int16_t>(byte);
  return out;
}();

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const std::array<std::string, 256> alphabet = [] {
    std::array<std::string, 256> out;
    for (std::size_t byte = 0; byte < 256; ++byte) append_utf8(out[byte], kCodePoints[byte]);
    return out;
  }();
  return alphabet;
}

bool append_spelled_bytes(std::string_view piece, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::size_t at = 0; at < piece.size();) {
    const char32_t c = decode_at(piece.data(), at);
    if (c >= kBytes.size() || kBytes[c] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(kBytes[c]);
  }
  return true;
}

}  // namespace lancet
