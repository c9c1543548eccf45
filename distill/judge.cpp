#include "distill/judge.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace lancet {
namespace {

/// What follows the last `word` (lower case), past blanks and the marks people put around it.
std::optional<std::string> after_last(std::string_view text, std::string_view word) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::size_t at = lower.rfind(word);
  if (at == lower.npos) return std::nullopt;
  const std::size_t from = lower.find_first_not_of(" \t\r\n*_[(\"'", at + word.size());
  if (from == lower.npos) return std::nullopt;
  return lower.substr(from);
}

}  // namespace

std::optional<double> read_score(std::string_view text) {
  const auto rest = after_last(text, "score:");
  if (!rest) return std::nullopt;
  double value = 0;
  const auto [stop, error] = std::from_chars(rest->data(), rest->data() + rest->size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::optional<char> read_winner(std::string_view text) {
  const auto rest = after_last(text, "winner:");
  if (!rest) return std::nullopt;
  const bool alone = rest->size() == 1 || !std::isalnum(static_cast<unsigned char>((*rest)[1]));
  if (alone && (*rest)[0] == 'a') return 'A';
  if (alone && (*rest)[0] == 'b') return 'B';
  if (rest->starts_with("tie")) return 'T';
  return std::nullopt;
}

Ask judge_ask(const std::string& prompt) {
  return {.messages = chat(prompt), .judge = true, .may_fail = true};
}

}  // namespace lancet
