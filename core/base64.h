#pragma once
// RFC 4648 base64, the standard alphabet with padding.

#include <optional>
#include <string>
#include <string_view>

namespace lancet {

[[nodiscard]] std::string encode_base64(std::string_view bytes);
/// Nothing for text that is not exactly base64 (white space, missing padding).
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace lancet
