// Rows by length: characters, words, tokens of a model's tokenizer, and the ratio of response to
// prompt.
#include <fmt/format.h>

#include "core/error.h"
#include "distill/filter.h"
#include "distill/text/words.h"
#include "formats/template/unicode.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

constexpr double kMost = 1e12;

constexpr FilterParameter least(std::string_view name, std::string_view help) {
  return {.name = name, .kind = FilterParameter::Kind::kInteger, .maximum = kMost, .help = help};
}
constexpr FilterParameter most(std::string_view name, std::string_view help) {
  return {.name = name,
          .kind = FilterParameter::Kind::kInteger,
          .fallback = kNoLimit,
          .maximum = kMost,
          .help = help};
}

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    least("min_characters", "least Unicode characters"),
    most("max_characters", "most Unicode characters"),
    least("min_words", "least words"),
    most("max_words", "most words"),
    least("min_tokens", "least tokens; needs tokenizer"),
    most("max_tokens", "most tokens; needs tokenizer"),
    {.name = "tokenizer",
     .kind = FilterParameter::Kind::kText,
     .help = "a model, or its tokenizer.json, that counts tokens"},
    {.name = "min_ratio",
     .maximum = 1e6,
     .help = "least characters of the response for each one of the prompt"},
    {.name = "max_ratio",
     .fallback = kNoLimit,
     .maximum = 1e6,
     .help = "most characters of the response for each one of the prompt"}};

class Length final : public RowFilter {
 public:
  explicit Length(const FilterValues& values)
      : part_(values.part()),
        characters_{values.number("min_characters"), values.number("max_characters")},
        words_{values.number("min_words"), values.number("max_words")},
        tokens_{values.number("min_tokens"), values.number("max_tokens")},
        ratio_{values.number("min_ratio"), values.number("max_ratio")} {
    values.check_range("min_characters", "max_characters");
    values.check_range("min_words", "max_words");
    values.check_range("min_tokens", "max_tokens");
    values.check_range("min_ratio", "max_ratio");
    const std::string model = values.text("tokenizer");
    if (tokens_.limits() != !model.empty())
      fail(ErrorKind::kUsage, "curate",
           "filter length: expected tokenizer together with min_tokens or max_tokens");
    if (!model.empty()) tokenizer_ = Tokenizer::open(fs::path(model));
    if (!characters_.limits() && !words_.limits() && !tokens_.limits() && !ratio_.limits())
      fail(ErrorKind::kUsage, "curate", "filter length: expected a limit, found none",
           "e.g. --filter length:min_words=5,max_characters=20000");
  }

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    const std::string text = row.text(part_);
    if (characters_.limits()) {
      if (auto drop = characters_.check(jinja::count_code_points(text), "characters")) return drop;
    }
    if (words_.limits()) {
      const std::string normalised = normalise_text(text);
      if (auto drop = words_.check(words_of(normalised).size(), "words")) return drop;
    }
    if (tokens_.limits()) {
      if (auto drop = tokens_.check(tokenizer_->encode(text, false).ids.size(), "tokens"))
        return drop;
    }
    return ratio_.limits() ? check_ratio(row) : std::nullopt;
  }

 private:
  struct Range {
    double low, high;
    [[nodiscard]] bool limits() const { return low > 0 || high < kNoLimit; }
    template <typename Number>
    [[nodiscard]] std::optional<Drop> check(Number found, std::string_view what) const {
      const auto value = static_cast<double>(found);
      if (value < low) return Drop{fmt::format("too few {}", what), fmt::format("{}", found)};
      if (value > high) return Drop{fmt::format("too many {}", what), fmt::format("{}", found)};
      return std::nullopt;
    }
  };
  RowPart part_;
  Range characters_, words_, tokens_, ratio_;
  std::optional<Tokenizer> tokenizer_;

  [[nodiscard]] std::optional<Drop> check_ratio(const Row& row) const {
    const std::string prompt = row.text(RowPart::kPrompt);
    if (prompt.empty()) return std::nullopt;
    const double ratio =
        static_cast<double>(jinja::count_code_points(row.text(RowPart::kResponse))) /
        static_cast<double>(jinja::count_code_points(prompt));
    if (ratio < ratio_.low)
      return Drop{"response too short for its prompt", fmt::format("ratio {:.3g}", ratio)};
    if (ratio > ratio_.high)
      return Drop{"response too long for its prompt", fmt::format("ratio {:.3g}", ratio)};
    return std::nullopt;
  }
};

}  // namespace

extern const Filter filter_length;
const Filter filter_length{.name = "length",
                           .title = "Characters, words, tokens, and response to prompt in a range",
                           .source = "",
                           .parameters = kParameters,
                           .make = [](const FilterValues& values, const FilterContext&) {
                             return std::unique_ptr<RowFilter>(std::make_unique<Length>(values));
                           }};

}  // namespace lancet
