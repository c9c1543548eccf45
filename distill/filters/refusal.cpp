// Responses that decline instead of answering. A list of openings that aligned models use, looked
// for near the beginning of the response; "I can't" in the middle of an answer is no refusal.
#include "distill/filter.h"
#include "distill/text/phrases.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr std::string_view kPhrases[] = {"i'm sorry, but i can't",
                                         "i'm sorry, but i cannot",
                                         "i am sorry, but i can't",
                                         "i am sorry, but i cannot",
                                         "i'm sorry, i can't",
                                         "i'm sorry, i cannot",
                                         "sorry, but i can't",
                                         "sorry, but i cannot",
                                         "sorry, i can't",
                                         "sorry, i cannot",
                                         "i apologize, but i can",
                                         "i apologize, but i'm",
                                         "i can't assist",
                                         "i cannot assist",
                                         "i can't help with",
                                         "i cannot help with",
                                         "i can't provide",
                                         "i cannot provide",
                                         "i can't fulfill",
                                         "i cannot fulfill",
                                         "i cannot fulfil",
                                         "i'm unable to",
                                         "i am unable to",
                                         "i'm not able to",
                                         "i am not able to",
                                         "i won't be able to",
                                         "i can't comply",
                                         "i cannot comply",
                                         "as an ai language model",
                                         "as an ai, i",
                                         "as a language model",
                                         "i must decline",
                                         "i have to decline",
                                         "i can't create",
                                         "i cannot create",
                                         "i can’t assist",
                                         "i’m sorry, but i can",
                                         "i’m unable to",
                                         "i can’t help with",
                                         "es tut mir leid, aber ich kann",
                                         "je suis désolé, mais je ne peux",
                                         "lo siento, pero no puedo",
                                         "我无法",
                                         "抱歉，我不能",
                                         "申し訳ありませんが"};

constexpr FilterParameter kParameters[] = {
    {.name = "window",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 120,
     .minimum = 1,
     .maximum = 1e9,
     .help = "bytes of the response within which a phrase must begin"},
    {.name = "phrase",
     .kind = FilterParameter::Kind::kList,
     .help = "one more phrase; may come again"}};

class Refusal final : public RowFilter {
 public:
  explicit Refusal(const FilterValues& values)
      : window_(values.integer("window")), phrases_(kPhrases, values.list("phrase")) {}

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    for (const RowTurn& turn : row.turns) {
      if (turn.role != "assistant" && turn.role != "chosen" && turn.role != "text") continue;
      if (const auto found = phrases_.find(normalise_text(turn.content), window_))
        return Drop{"refusal", *found};
    }
    return std::nullopt;
  }

 private:
  std::size_t window_;
  Phrases phrases_;
};

}  // namespace

extern const Filter filter_refusal;
const Filter filter_refusal{.name = "refusal",
                            .title = "No responses that begin by declining",
                            .source = "",
                            .parameters = kParameters,
                            .make = [](const FilterValues& values, const FilterContext&) {
                              return std::unique_ptr<RowFilter>(std::make_unique<Refusal>(values));
                            }};

}  // namespace lancet
