#pragma once
// How alike two texts are.

#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// Runs of letters and digits (and whatever is not ASCII), lower case.
[[nodiscard]] std::vector<std::string> plain_words(std::string_view text);

/// ROUGE-L (Lin 2004): F1 of the longest common subsequence of words; 0 when either is empty.
[[nodiscard]] double rouge_l(const std::vector<std::string>& a, const std::vector<std::string>& b);

}  // namespace lancet
