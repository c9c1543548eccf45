#pragma once
// Phrases looked for in normalised texts.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

class Phrases {
 public:
  /// `own`: more phrases, normalised here.
  Phrases(std::span<const std::string_view> built_in, const std::vector<std::string>& own);
  /// The phrase that comes first in `normalised` at word borders, within its first `limit` bytes.
  [[nodiscard]] std::optional<std::string> find(std::string_view normalised,
                                                std::size_t limit = std::string_view::npos) const;

 private:
  std::vector<std::string> phrases_;
};

}  // namespace lancet
