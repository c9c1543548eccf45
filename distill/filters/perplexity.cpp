// How surprising a text is to the student: exp(nll / tokens). Too low is known already, too high is
// noise (Wenzek et al. 2019, arXiv:1911.00359; Marion et al. 2023, arXiv:2309.04564 keep the
// middle).
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "distill/filter.h"

namespace lancet {
namespace {

constexpr std::size_t kGroup = 256;

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "min", .fallback = 0, .maximum = 1e12, .help = "least perplexity"},
    {.name = "max", .fallback = kNoLimit, .maximum = 1e12, .help = "most perplexity"}};

class Perplexity final : public RowFilter {
 public:
  Perplexity(const FilterValues& values, const FilterContext& context)
      : part_(values.part()),
        low_(values.number("min")),
        high_(values.number("max")),
        score_(context.score) {
    values.check_range("min", "max");
    if (!score_)
      fail(ErrorKind::kUsage, "curate", "filter perplexity: expected a student, found none",
           "--student MODEL");
    if (low_ <= 0 && std::isinf(high_))
      fail(ErrorKind::kUsage, "curate", "filter perplexity: expected min or max, found neither");
  }

  std::vector<std::optional<Drop>> select(const RowStore& rows) override {
    std::vector<std::optional<Drop>> drops(rows.size());
    rows.for_each_group(kGroup, [&](std::size_t first, const std::vector<Row>& group) {
      std::vector<std::string> texts;
      texts.reserve(group.size());
      for (const Row& row : group) texts.push_back(row.text(part_));
      const auto scores = score_(texts);
      for (std::size_t i = 0; i < group.size(); ++i) drops[first + i] = judge(scores.at(i));
    });
    return drops;
  }

  Json details() const override {
    return {{"tokens", tokens_},
            {"perplexity",
             tokens_ == 0 ? Json() : Json(std::exp(nll_ / static_cast<double>(tokens_)))}};
  }

 private:
  RowPart part_;
  double low_, high_;
  ScoreTexts score_;
  double nll_ = 0;
  std::int64_t tokens_ = 0;

  std::optional<Drop> judge(const TextScore& score) {
    if (score.tokens == 0) return Drop{"too short to score", ""};
    nll_ += score.nll;
    tokens_ += score.tokens;
    const double value = std::exp(score.nll / static_cast<double>(score.tokens));
    if (value < low_) return Drop{"perplexity too low", fmt::format("{:.3g}", value)};
    if (!(value <= high_)) return Drop{"perplexity too high", fmt::format("{:.3g}", value)};
    return std::nullopt;
  }
};

}  // namespace

extern const Filter filter_perplexity;
const Filter filter_perplexity{
    .name = "perplexity",
    .title = "Perplexity under the student in a range",
    .source = "arXiv:2309.04564",
    .parameters = kParameters,
    .selects = true,
    .make = [](const FilterValues& values, const FilterContext& context) {
      return std::unique_ptr<RowFilter>(std::make_unique<Perplexity>(values, context));
    }};

}  // namespace lancet
