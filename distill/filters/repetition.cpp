// Repetition within a text, with the thresholds of Gopher (Rae et al. 2021, arXiv:2112.11446, table
// A1): shares of repeated lines and paragraphs, of the characters of the commonest n-gram (n = 2 to
// 4), and of all characters inside repeated n-grams (n = 5 to 10). A share is that of the text's
// word characters; every threshold can be moved by one factor.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "distill/filter.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

struct Rule {
  std::size_t n;
  double share;
};
constexpr Rule kCommonest[] = {{2, 0.20}, {3, 0.18}, {4, 0.16}};
constexpr Rule kRepeated[] = {{5, 0.15}, {6, 0.14}, {7, 0.13}, {8, 0.12}, {9, 0.11}, {10, 0.10}};
constexpr double kLines = 0.30, kLineCharacters = 0.20, kParagraphs = 0.30,
                 kParagraphCharacters = 0.20;

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "factor",
     .fallback = 1,
     .minimum = 0.1,
     .maximum = 10,
     .help = "times Gopher's thresholds; above 1 is laxer"},
    {.name = "min_words",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 50,
     .minimum = 1,
     .maximum = 1e9,
     .help = "texts of fewer words are not judged by n-grams: a short one repeats by chance"}};

/// Shares of repeated pieces between `separator`s, by number and by bytes.
std::pair<double, double> repeated_pieces(std::string_view text, std::string_view separator) {
  std::unordered_set<std::string_view> seen;
  std::size_t pieces = 0, bytes = 0, again = 0, again_bytes = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view piece = text.substr(0, end);
    text.remove_prefix(std::min(end + separator.size(), text.size()));
    if (piece.find_first_not_of(" \t\r\n") == std::string_view::npos) continue;
    ++pieces;
    bytes += piece.size();
    if (!seen.insert(piece).second) {
      ++again;
      again_bytes += piece.size();
    }
  }
  if (pieces == 0) return {0, 0};
  return {static_cast<double>(again) / static_cast<double>(pieces),
          static_cast<double>(again_bytes) / static_cast<double>(bytes)};
}

class Words {
 public:
  explicit Words(const std::vector<std::string_view>& words)
      : words_(words), hashes_(hash_words(words)) {
    for (const std::string_view word : words) total_ += word.size();
  }

  /// Bytes of the most frequent n-gram's words, times its count, over all; 0 if none occurs twice.
  [[nodiscard]] double commonest(std::size_t n) const {
    std::unordered_map<std::uint64_t, std::pair<std::size_t, std::size_t>> counts;  // count, first
    const auto runs = hash_ngrams(hashes_, n);
    std::size_t best = 0;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      auto& [count, first] = counts.try_emplace(runs[i], 0, i).first->second;
      if (++count > 1) best = std::max(best, count * bytes(first, n));
    }
    return share(best);
  }

  /// Bytes of words that lie in an n-gram seen before, each word once, over all.
  [[nodiscard]] double repeated(std::size_t n) const {
    std::unordered_set<std::uint64_t> seen;
    const auto runs = hash_ngrams(hashes_, n);
    std::size_t sum = 0, covered = 0;  // words before `covered` are counted
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (seen.insert(runs[i]).second) continue;
      const std::size_t begin = std::max(covered, i);
      sum += bytes(begin, i + n - begin);
      covered = i + n;
    }
    return share(sum);
  }

 private:
  const std::vector<std::string_view>& words_;
  std::vector<std::uint64_t> hashes_;
  std::size_t total_ = 0;

  [[nodiscard]] std::size_t bytes(std::size_t first, std::size_t count) const {
    std::size_t sum = 0;
    for (std::size_t i = first; i < first + count; ++i) sum += words_[i].size();
    return sum;
  }
  [[nodiscard]] double share(std::size_t part) const {
    return total_ == 0 ? 0 : static_cast<double>(part) / static_cast<double>(total_);
  }
};

class Repetition final : public RowFilter {
 public:
  explicit Repetition(const FilterValues& values)
      : part_(values.part()),
        factor_(values.number("factor")),
        least_(values.integer("min_words")) {}

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    const std::string text = row.text(part_);
    if (auto drop = by_pieces(text, "\n", "lines", kLines, kLineCharacters)) return drop;
    if (auto drop = by_pieces(text, "\n\n", "paragraphs", kParagraphs, kParagraphCharacters))
      return drop;
    const std::string normalised = normalise_text(text);
    const auto words = words_of(normalised);
    if (words.size() < least_) return std::nullopt;
    const Words counted(words);
    for (const auto& [n, limit] : kCommonest) {
      const double share = counted.commonest(n);
      if (share > limit * factor_)
        return Drop{fmt::format("commonest {}-gram", n), fmt::format("{:.2f}", share)};
    }
    for (const auto& [n, limit] : kRepeated) {
      const double share = counted.repeated(n);
      if (share > limit * factor_)
        return Drop{fmt::format("repeated {}-grams", n), fmt::format("{:.2f}", share)};
    }
    return std::nullopt;
  }

 private:
  RowPart part_;
  double factor_;
  std::size_t least_;

  [[nodiscard]] std::optional<Drop> by_pieces(std::string_view text, std::string_view separator,
                                              std::string_view what, double count,
                                              double bytes) const {
    const auto [pieces, characters] = repeated_pieces(text, separator);
    if (pieces > count * factor_)
      return Drop{fmt::format("repeated {}", what), fmt::format("{:.2f} of them", pieces)};
    if (characters > bytes * factor_)
      return Drop{fmt::format("repeated {}", what), fmt::format("{:.2f} of the text", characters)};
    return std::nullopt;
  }
};

}  // namespace

extern const Filter filter_repetition;
const Filter filter_repetition{
    .name = "repetition",
    .title = "No texts that repeat themselves (Gopher's rules)",
    .source = "arXiv:2112.11446",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Repetition>(values));
    }};

}  // namespace lancet
