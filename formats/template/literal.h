#pragma once
// Numbers and string escapes of template source.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lancet::jinja {

struct NumberText {
  std::size_t bytes = 0;  ///< 0: no number here
  bool is_real = false;
};
/// The longest number literal at `at`: 1_000, 0x1f, 0b1, 0o7, 1.5, 2e3.
[[nodiscard]] NumberText scan_number(std::string_view text, std::size_t at);
/// False when it does not fit int64 or is not finite.
[[nodiscard]] bool parse_number(std::string_view literal, bool is_real, std::int64_t& integer,
                                double& real);

/// Resolves the escapes between two quotes as Python's unicode-escape does; throws kInput.
[[nodiscard]] std::string unescape(std::string_view text, std::uint32_t line);

}  // namespace lancet::jinja
