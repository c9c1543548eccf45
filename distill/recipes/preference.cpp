// Preference pairs: n answers, a judge compares them in both orders, best against worst (AI
// feedback as in UltraFeedback, arXiv:2310.01377; positions swapped against the judge's bias for
// the first, Zheng et al. 2023, arXiv:2306.05685).
//   seed {"prompt"}  ->  {"prompt", "chosen", "rejected", "scores"}
// A pair stays only when both orders of the final comparison agree on the winner.

#include "distill/judge.h"

#include <algorithm>

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "n",
     .kind = Kind::kInteger,
     .fallback = 4,
     .minimum = 2,
     .maximum = 16,
     .help = "Answers drawn for each prompt"},
    {.name = "margin",
     .fallback = 1,
     .minimum = 0,
     .maximum = 5,
     .help = "Least difference of score between chosen and rejected"}};
constexpr std::string_view kPrompts[] = {"score", "compare"};

struct Scored {
  const TeacherAnswer* answer;
  double score;
};

std::vector<Scored> score_all(Turn& turn, const std::string& prompt,
                              const std::vector<const TeacherAnswer*>& answers) {
  std::vector<Ask> questions;
  questions.reserve(answers.size());
  for (const TeacherAnswer* each : answers)
    questions.push_back(
        judge_ask(turn.prompt("score", {{"prompt", prompt}, {"answer", each->text}})));
  const auto verdicts = turn.ask_all(std::move(questions));
  std::vector<Scored> out;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (const auto score = read_score(verdicts[i]->text)) out.push_back({answers[i], *score});
  }
  return out;
}

/// Whether `a` wins against `b` in both orders.
bool wins_both_ways(Turn& turn, const std::string& prompt, const std::string& a,
                    const std::string& b) {
  const auto compare = [&](const std::string& first, const std::string& second) {
    return judge_ask(
        turn.prompt("compare", {{"prompt", prompt}, {"first", first}, {"second", second}}));
  };
  std::vector<Ask> questions;
  questions.push_back(compare(a, b));
  questions.push_back(compare(b, a));
  const auto verdicts = turn.ask_all(std::move(questions));
  return read_winner(verdicts[0]->text) == 'A' && read_winner(verdicts[1]->text) == 'B';
}

void run(Turn& turn) {
  const std::string prompt = turn.text("prompt");
  const std::vector<Ask> draws(turn.count("n"), {.messages = chat(prompt), .may_fail = true});
  std::vector<const TeacherAnswer*> good;
  for (const TeacherAnswer* each : turn.ask_all(draws)) {
    if (each->ending == Ending::kOk) good.push_back(each);
  }
  if (good.size() < 2) turn.drop("fewer than two answers stand");
  const std::vector<Scored> scored = score_all(turn, prompt, good);
  if (scored.size() < 2) turn.drop("the judge gave no score");
  const auto by_score = [](const Scored& x, const Scored& y) { return x.score < y.score; };
  const Scored best = *std::max_element(scored.begin(), scored.end(), by_score);
  const Scored worst = *std::min_element(scored.begin(), scored.end(), by_score);
  if (best.score - worst.score < turn.number("margin") || best.answer->text == worst.answer->text)
    turn.drop("answers too alike");
  if (!wins_both_ways(turn, prompt, best.answer->text, worst.answer->text))
    turn.drop("the judge contradicts itself");
  turn.emit({{"prompt", prompt},
             {"chosen", best.answer->text},
             {"rejected", worst.answer->text},
             {"scores", {best.score, worst.score}}});
}

}  // namespace

extern const DataRecipe data_recipe_preference{
    .name = "preference",
    .title = "Pairs of a better and a worse answer",
    .paper = "arXiv:2310.01377",
    .needs = "prompt",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) {
          return 2 * static_cast<std::uint64_t>(options.numbers[0]) + 2;
        },
    .run = run,
    .rows = RowKind::kPreference};

}  // namespace lancet
