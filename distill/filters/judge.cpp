// Scores that a judge has left in the rows: a range for one score, the agreement of two judgements
// of the same pair in swapped order (Zheng et al. 2023, arXiv:2306.05685: judges prefer a place).
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "distill/filter.h"

namespace lancet {
namespace {

constexpr FilterParameter kParameters[] = {
    {.name = "field",
     .kind = FilterParameter::Kind::kText,
     .help = "member with the score, a number; \"judge.score\" goes into objects"},
    {.name = "min",
     .fallback = -kNoLimit,
     .minimum = -1e12,
     .maximum = 1e12,
     .help = "least score"},
    {.name = "max", .fallback = kNoLimit, .minimum = -1e12, .maximum = 1e12, .help = "most score"},
    {.name = "swapped",
     .kind = FilterParameter::Kind::kText,
     .help =
         "member with the score of the same question asked in the other order; min and max hold "
         "for the mean of both"},
    {.name = "max_difference",
     .fallback = kNoLimit,
     .maximum = 1e12,
     .help = "most that the two scores may differ by; needs swapped"},
    {.name = "first",
     .kind = FilterParameter::Kind::kText,
     .help = "member with the winner (a text) in the one order"},
    {.name = "second",
     .kind = FilterParameter::Kind::kText,
     .help = "member with the winner in the other order; both must be there and equal"},
    {.name = "missing",
     .kind = FilterParameter::Kind::kFlag,
     .help = "keep rows without the members"}};

class Judge final : public RowFilter {
 public:
  explicit Judge(const FilterValues& values)
      : field_(values.text("field")),
        swapped_(values.text("swapped")),
        first_(values.text("first")),
        second_(values.text("second")),
        low_(values.number("min")),
        high_(values.number("max")),
        difference_(values.number("max_difference")),
        missing_(values.flag("missing")) {
    const auto need = [](bool held, const char* message) {
      if (!held)
        fail(ErrorKind::kUsage, "curate", fmt::format("filter judge: expected {}", message));
    };
    need(!field_.empty() || !first_.empty(), "field, or first and second");
    need(first_.empty() == second_.empty(), "first and second together");
    need(!field_.empty() || (std::isinf(low_) && std::isinf(high_) && swapped_.empty()),
         "field with min, max or swapped");
    need(std::isinf(difference_) || !swapped_.empty(), "swapped with max_difference");
    need(
        field_.empty() || std::isfinite(low_) || std::isfinite(high_) || std::isfinite(difference_),
        "min, max or max_difference with field");
    need(low_ <= high_, "min not above max");
  }

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    if (!field_.empty()) {
      if (auto drop = check_scores(row)) return drop;
    }
    return first_.empty() ? std::nullopt : check_winners(row);
  }

 private:
  std::string field_, swapped_, first_, second_;
  double low_, high_, difference_;
  bool missing_;

  [[nodiscard]] std::optional<Drop> absent(const std::string& name) const {
    return missing_ ? std::nullopt : std::optional(Drop{"no score", name});
  }

  [[nodiscard]] std::optional<Drop> check_scores(const Row& row) const {
    const Json first = row.value(field_);
    if (!first.is_number()) return absent(field_);
    double score = first.get<double>();
    if (!swapped_.empty()) {
      const Json second = row.value(swapped_);
      if (!second.is_number()) return absent(swapped_);
      const double gap = std::abs(score - second.get<double>());
      if (gap > difference_) return Drop{"orders disagree", fmt::format("by {:g}", gap)};
      score = (score + second.get<double>()) / 2;
    }
    if (score < low_) return Drop{"score too low", fmt::format("{:g}", score)};
    if (score > high_) return Drop{"score too high", fmt::format("{:g}", score)};
    return std::nullopt;
  }

  [[nodiscard]] std::optional<Drop> check_winners(const Row& row) const {
    const Json first = row.value(first_), second = row.value(second_);
    if (!first.is_string()) return absent(first_);
    if (!second.is_string()) return absent(second_);
    if (first == second) return std::nullopt;
    return Drop{"orders disagree", first.get<std::string>() + " and " + second.get<std::string>()};
  }
};

}  // namespace

extern const Filter filter_judge;
const Filter filter_judge{
    .name = "judge",
    .title = "A judge's scores in a range; agreement when the order is swapped",
    .source = "arXiv:2306.05685",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Judge>(values));
    }};

}  // namespace lancet
