#pragma once
// Answers to mathematical problems: found in a text, compared exactly, voted on. Numbers are
// compared as fractions, tuples, sets and intervals element by element, everything else as
// normalised text: no algebra is done, so sqrt(8) and 2 sqrt(2) differ.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// The last \boxed{...} or \fbox{...}; else what follows the last "####" or "answer is"/"answer:"
/// up to the end of its line or sentence; else the last number of the text; else nothing.
[[nodiscard]] std::optional<std::string> extract_answer(std::string_view text);

/// LaTeX and words taken off: \text{...}, \left, \!, \$, dollar signs, units, degrees, a "x =" in
/// front, a full stop; \frac{a}{b} and \tfrac as (a)/(b); \times 10^{n} as en; blanks.
[[nodiscard]] std::string normalise_answer(std::string_view answer);

/// Whether both say the same. A percentage equals its number with and without the sign (50% is 50
/// and 1/2). `tolerance`: largest relative difference of two numbers, 0 = exact.
[[nodiscard]] bool answers_agree(std::string_view a, std::string_view b, double tolerance = 0);

struct Vote {
  std::size_t winner = 0;  ///< index of the first answer of the largest group
  std::size_t votes = 0;   ///< its size
  std::size_t groups = 0;  ///< different answers
  [[nodiscard]] double share(std::size_t all) const noexcept {
    return all == 0 ? 0 : static_cast<double>(votes) / static_cast<double>(all);
  }
};
/// The answer most often given; of equally large groups the one whose first answer came first.
/// Nothing for no answers.
[[nodiscard]] std::optional<Vote> majority_vote(const std::vector<std::string>& answers,
                                                double tolerance = 0);

}  // namespace lancet
