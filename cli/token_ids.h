#pragma once
// Token ids as options have them: "1,2,3".

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// Ids are int32; a model says which of them it has.
constexpr std::int64_t kMostIds = 1LL << 31;

/// One id; otherwise kUsage "expected OPTION, found 'WHOLE'".
[[nodiscard]] std::int64_t parse_token_id(std::string_view command, std::string_view option,
                                          std::string_view digits, std::string_view whole);

/// Ids with one comma between them, and blanks.
[[nodiscard]] std::vector<std::int32_t> parse_token_ids(std::string_view command,
                                                        std::string_view option,
                                                        const std::string& text);

}  // namespace lancet
