// Texts that give their origin away or say nothing: a model that speaks of itself, web page
// furniture, placeholders that were never filled in.
#include "distill/filter.h"
#include "distill/text/phrases.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr std::string_view kPhrases[] = {"as an ai language model",
                                         "as a large language model",
                                         "my knowledge cutoff",
                                         "my last knowledge update",
                                         "my training data",
                                         "i was trained by",
                                         "trained by openai",
                                         "developed by openai",
                                         "i'm chatgpt",
                                         "i am chatgpt",
                                         "created by anthropic",
                                         "regenerate response",
                                         "lorem ipsum",
                                         "all rights reserved",
                                         "terms of service",
                                         "cookie policy",
                                         "we use cookies",
                                         "accept all cookies",
                                         "please enable javascript",
                                         "javascript is disabled",
                                         "subscribe to our newsletter",
                                         "sign up for our newsletter",
                                         "click here to subscribe",
                                         "[your name]",
                                         "[insert",
                                         "<your_",
                                         "todo: fill"};

constexpr FilterParameter kParameters[] = {part_parameter(2),
                                           {.name = "phrase",
                                            .kind = FilterParameter::Kind::kList,
                                            .help = "one more phrase; may come again"}};

class Boilerplate final : public RowFilter {
 public:
  explicit Boilerplate(const FilterValues& values)
      : part_(values.part()), phrases_(kPhrases, values.list("phrase")) {}

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    const auto found = phrases_.find(normalise_text(row.text(part_)));
    return found ? std::optional(Drop{"boilerplate", *found}) : std::nullopt;
  }

 private:
  RowPart part_;
  Phrases phrases_;
};

}  // namespace

extern const Filter filter_boilerplate;
const Filter filter_boilerplate{
    .name = "boilerplate",
    .title = "No models speaking of themselves, page furniture, unfilled placeholders",
    .source = "",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Boilerplate>(values));
    }};

}  // namespace lancet
