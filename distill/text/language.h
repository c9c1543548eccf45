#pragma once
// The language of a text by its script and, where several languages share one, by how many of its
// words are among their commonest. Honest for a paragraph of prose; texts of fewer than
// kLanguageWords words, names, tables and code are "und". Close relatives (Norwegian and Danish,
// Serbian and Croatian, Malay and Indonesian) are told as the one in the table.

#include <string>
#include <string_view>
#include <vector>

namespace lancet {

inline constexpr std::size_t kLanguageWords = 8;

struct LanguageGuess {
  std::string code = "und";  ///< ISO 639-1
  double share = 0;          ///< of words that speak for it; of letters for a script of its own
};
[[nodiscard]] LanguageGuess guess_language(std::string_view text);
/// All codes that guess_language may give but "und".
[[nodiscard]] std::vector<std::string_view> known_languages();

}  // namespace lancet
