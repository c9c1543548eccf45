#include "cli/token_ids.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {

std::int64_t parse_token_id(std::string_view command, std::string_view option,
                            std::string_view digits, std::string_view whole) {
  std::int64_t id = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc{} || end != digits.data() + digits.size() || id < 0 || id >= kMostIds) {
    fail(ErrorKind::kUsage, command,
         fmt::format("expected {}, found '{}'", option, printable(whole)));
  }
  return id;
}

std::vector<std::int32_t> parse_token_ids(std::string_view command, std::string_view option,
                                          const std::string& text) {
  std::vector<std::int32_t> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    std::string_view id = std::string_view(text).substr(at, comma - at);
    id.remove_prefix(std::min(id.find_first_not_of(' '), id.size()));
    id = id.substr(0, id.find_last_not_of(' ') + 1);
    out.push_back(static_cast<std::int32_t>(parse_token_id(command, option, id, text)));
    at = comma + 1;
  }
  return out;
}

}  // namespace lancet
