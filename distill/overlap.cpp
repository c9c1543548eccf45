#include "distill/overlap.h"

#include <algorithm>
#include <cctype>

namespace lancet {

std::vector<std::string> plain_words(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  for (const char each : text) {
    const auto c = static_cast<unsigned char>(each);
    if (c >= 0x80 || std::isalnum(c)) {
      word += static_cast<char>(std::tolower(c));
    } else if (!word.empty()) {
      out.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

double rouge_l(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  if (a.empty() || b.empty()) return 0;
  // Two rows of the table of longest common subsequences of prefixes.
  std::vector<std::size_t> before(b.size() + 1), row(b.size() + 1);
  for (const std::string& word : a) {
    for (std::size_t j = 0; j < b.size(); ++j)
      row[j + 1] = word == b[j] ? before[j] + 1 : std::max(before[j + 1], row[j]);
    std::swap(before, row);
  }
  const auto common = static_cast<double>(before[b.size()]);
  return 2 * common / static_cast<double>(a.size() + b.size());
}

}  // namespace lancet
