// Rejection sampling: K answers, a judge scores each, the best one stays (Llama 3, arXiv:2407.21783
// section 4.2.2: K = 10 to 30).
//   seed {"prompt"}  ->  {"messages", "score", "scores"}
// Answers that were cut or refused do not stand; equal scores: the earlier draw.

#include "distill/judge.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "n",
     .kind = Kind::kInteger,
     .fallback = 8,
     .minimum = 2,
     .maximum = 64,
     .help = "Answers drawn for each prompt"},
    {.name = "minimum_score",
     .fallback = 4,
     .minimum = 0,
     .maximum = 5,
     .help = "Prompts whose best answer scores less are dropped"}};
constexpr std::string_view kPrompts[] = {"judge"};

void run(Turn& turn) {
  const std::string prompt = turn.text("prompt");
  const std::vector<Ask> draws(turn.count("n"), {.messages = chat(prompt), .may_fail = true});
  const auto answers = turn.ask_all(draws);
  std::vector<const TeacherAnswer*> good;
  for (const TeacherAnswer* answer : answers) {
    if (answer->ending == Ending::kOk) good.push_back(answer);
  }
  if (good.empty()) turn.drop("no answer stands");
  std::vector<Ask> questions;
  questions.reserve(good.size());
  for (const TeacherAnswer* answer : good)
    questions.push_back(
        judge_ask(turn.prompt("judge", {{"prompt", prompt}, {"answer", answer->text}})));
  const auto verdicts = turn.ask_all(std::move(questions));
  std::size_t best = good.size();
  double highest = -1;
  Json scores = Json::array();
  for (std::size_t i = 0; i < good.size(); ++i) {
    const auto score = read_score(verdicts[i]->text);
    scores.push_back(score ? Json(*score) : Json());
    if (!score || *score <= highest) continue;
    best = i;
    highest = *score;
  }
  if (best == good.size()) turn.drop("the judge gave no score");
  if (highest < turn.number("minimum_score")) turn.drop("score too low");
  turn.emit({{"messages", with(chat(prompt), "assistant", good[best]->text)},
             {"score", highest},
             {"scores", scores}},
            good[best]);
}

}  // namespace

extern const DataRecipe data_recipe_best_of_n{
    .name = "best_of_n",
    .title = "The best of n answers, by a judge",
    .paper = "arXiv:2407.21783",
    .needs = "prompt",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) {
          return 2 * static_cast<std::uint64_t>(options.numbers[0]);
        },
    .run = run};

}  // namespace lancet
