#pragma once
// What % formatting and str.format share.

#include <cstdint>
#include <string>

#include "formats/template/print.h"

namespace lancet::jinja {

struct Layout {
  char32_t fill = ' ';
  char align = '<';        ///< '<', '>', '^', or '=' (padding after the sign and the 0x)
  std::int64_t width = 0;  ///< code points
};

/// Pads `text` to the width; throws kInput when the result would be too large.
[[nodiscard]] std::string lay_out(Runtime& rt, const std::string& text, const Layout& layout);
/// `type`: d, x, X, o or b; `prefix` puts 0x, 0o, 0b before the digits.
[[nodiscard]] std::string format_integer(std::int64_t value, char type, bool prefix);

}  // namespace lancet::jinja
