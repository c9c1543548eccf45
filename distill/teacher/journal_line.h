#pragma once
// The lines of distill/teacher/journal.h, and the keys in them.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/json.h"

namespace lancet {

/// A request key as 32 bytes: a million of them take little room.
using JournalKey = std::array<std::uint64_t, 4>;
struct JournalKeyHash {
  std::size_t operator()(const JournalKey& key) const noexcept { return key[0]; }
};
/// Of 64 lower-case hex digits.
[[nodiscard]] std::optional<JournalKey> parse_journal_key(std::string_view hex);

/// Digits of the checksum, before a blank and the document.
inline constexpr std::size_t kSumDigits = 16;
[[nodiscard]] std::string journal_line(const Json& document);
/// Whether the checksum is that of the rest; `line` without its end.
[[nodiscard]] bool is_whole_line(std::string_view line);

}  // namespace lancet
