// Verified mathematics: n solutions of a problem, those kept whose final answer is right: equal to
// the seed's own answer where it has one, else to what the majority says (self-consistency, Wang et
// al. 2022, arXiv:2203.11171), as Llama 3 filters its chains (arXiv:2407.21783 section 4.3.3).
//   seed {"question", "answer"?}  ->  rows {"messages", "answer", "pass_rate", "verified"}
// Answers are compared as exact fractions; a chain that holds a false equation is not kept.
// pass_rate is the share of draws with the right answer: the problem's difficulty.

#include <algorithm>

#include "distill/equations.h"
#include "distill/turn.h"
#include "distill/verify/maths.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "n",
     .kind = Kind::kInteger,
     .fallback = 8,
     .minimum = 1,
     .maximum = 256,
     .help = "Solutions drawn for each problem"},
    {.name = "keep",
     .kind = Kind::kInteger,
     .fallback = 1,
     .minimum = 1,
     .maximum = 256,
     .help = "Right solutions kept of each problem, the first ones"},
    {.name = "majority",
     .fallback = 0.5,
     .minimum = 0,
     .maximum = 1,
     .help = "Without a known answer: share of all draws that the majority must exceed"},
    {.name = "too_easy",
     .fallback = 1,
     .minimum = 0,
     .maximum = 1,
     .help = "Problems with a larger pass rate are dropped (1: none)"},
    {.name = "check_steps",
     .kind = Kind::kFlag,
     .fallback = 1,
     .help = "A solution with a false equation in it is not kept"}};
constexpr std::string_view kPrompts[] = {"solve"};

/// The right answer and whether the seed knew it; drops where nobody can say.
std::pair<std::string, bool> right_answer(const Turn& turn, const std::vector<std::string>& said,
                                          std::size_t draws) {
  if (turn.seed().contains("answer")) return {turn.text("answer"), true};
  const auto vote = majority_vote(said);
  if (!vote) turn.drop("no solution names its answer");
  if (vote->share(draws) <= turn.number("majority")) turn.drop("no majority");
  return {said[vote->winner], false};
}

void run(Turn& turn) {
  const std::string question = turn.text("question");
  const Json messages = chat(turn.prompt("solve", {{"question", question}}));
  const std::vector<Ask> draws(turn.count("n"), Ask{.messages = messages, .may_fail = true});
  std::vector<const TeacherAnswer*> solutions;  // those that name an answer
  std::vector<std::string> said;
  for (const TeacherAnswer* each : turn.ask_all(draws)) {
    auto answer = each->ending == Ending::kOk ? extract_answer(each->text) : std::nullopt;
    if (!answer) continue;
    solutions.push_back(each);
    said.push_back(std::move(*answer));
  }
  const auto [right, known] = right_answer(turn, said, draws.size());
  std::vector<std::size_t> good;
  for (std::size_t i = 0; i < said.size(); ++i) {
    if (answers_agree(said[i], right)) good.push_back(i);
  }
  if (good.empty()) turn.drop("no solution is right");
  const double rate = static_cast<double>(good.size()) / static_cast<double>(draws.size());
  if (turn.number("too_easy") < 1 && rate > turn.number("too_easy")) turn.drop("too easy");
  std::uint32_t kept = 0;
  for (const std::size_t i : good) {
    if (kept == turn.count("keep")) break;
    if (turn.flag("check_steps") && false_equation(solutions[i]->text)) continue;
    turn.emit({{"messages", with(chat(question), "assistant", solutions[i]->text)},
               {"answer", said[i]},
               {"pass_rate", rate},
               {"verified", known ? "answer" : "majority"}},
              solutions[i]);
    ++kept;
  }
  if (kept == 0) turn.drop("a false equation in every right solution");
}

}  // namespace

extern const DataRecipe data_recipe_maths{
    .name = "maths",
    .title = "Mathematics checked by exact arithmetic or by majority",
    .paper = "arXiv:2407.21783",
    .needs = "question",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) { return static_cast<std::uint64_t>(options.numbers[0]); },
    .run = run};

}  // namespace lancet
