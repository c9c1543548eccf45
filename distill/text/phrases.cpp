#include "distill/text/phrases.h"

#include <cctype>

#include "distill/text/words.h"

namespace lancet {
namespace {

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0;
}

/// No letter touches the phrase where it begins or ends with one.
bool at_borders(std::string_view text, std::size_t at, std::size_t size) {
  const bool before = at > 0 && is_word_byte(text[at - 1]) && is_word_byte(text[at]);
  const bool after =
      at + size < text.size() && is_word_byte(text[at + size]) && is_word_byte(text[at + size - 1]);
  return !before && !after;
}

}  // namespace

Phrases::Phrases(std::span<const std::string_view> built_in, const std::vector<std::string>& own) {
  for (const std::string_view phrase : built_in) phrases_.emplace_back(phrase);
  for (const std::string& phrase : own) phrases_.push_back(normalise_text(phrase));
}

std::optional<std::string> Phrases::find(std::string_view normalised, std::size_t limit) const {
  std::size_t best = std::string_view::npos;
  const std::string* found = nullptr;
  for (const std::string& phrase : phrases_) {
    for (std::size_t at = normalised.find(phrase); at < std::min(limit, best);
         at = normalised.find(phrase, at + 1)) {
      if (!at_borders(normalised, at, phrase.size())) continue;
      best = at;
      found = &phrase;
      break;
    }
  }
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

}  // namespace lancet
