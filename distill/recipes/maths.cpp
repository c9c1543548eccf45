// Verified mathematics: n solutions of a problem, those kept whose final answer is right: equal to
// the seed's own answer where it has one, else to what the majority says (self-consistency, Wang et
// al. 2022, arXiv:2203.11171), as Llama 3 filters its chains (arXiv:2407.21783 section 4.3.3).
//   seed {"question", "answer"?}  ->  rows {"messages", "answer", "pass_rate", "verified"}
// Answers are compared as exact fractions; a chain that holds a false equation is not kept.
// pass_rate is the share of draws with the right answer: the problem's difficulty.

#include <algorithm>
#include <map>

#include "distill/exact.h"
#include "distill/turn.h"

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

/// The right answer's class and whether the seed knew it; drops where nobody can say.
std::pair<std::string, bool> right_answer(const Turn& turn,
                                          const std::vector<std::string>& classes) {
  if (turn.seed().contains("answer")) return {answer_class(turn.text("answer")), true};
  std::map<std::string, std::size_t> votes;
  for (const std::string& each : classes) {
    if (!each.empty()) ++votes[each];
  }
  if (votes.empty()) turn.drop("no solution names its answer");
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const double share = static_cast<double>(most->second) / static_cast<double>(classes.size());
  if (share <= turn.number("majority")) turn.drop("no majority");
  return {most->first, false};
}

void run(Turn& turn) {
  const std::string question = turn.text("question");
  const Json messages = chat(turn.prompt("solve", {{"question", question}}));
  const std::vector<Ask> draws(turn.count("n"), Ask{.messages = messages, .may_fail = true});
  const auto answers = turn.ask_all(draws);
  std::vector<std::string> classes;
  for (const TeacherAnswer* each : answers) {
    const auto said = each->outcome == Outcome::kOk ? final_answer(each->text) : std::nullopt;
    classes.push_back(said ? answer_class(*said) : "");
  }
  const auto [right, known] = right_answer(turn, classes);
  const auto count = std::count(classes.begin(), classes.end(), right);
  const double rate = static_cast<double>(count) / static_cast<double>(classes.size());
  if (count == 0) turn.drop("no solution is right");
  if (turn.number("too_easy") < 1 && rate > turn.number("too_easy")) turn.drop("too easy");
  std::uint32_t kept = 0;
  for (std::size_t i = 0; i < answers.size() && kept < turn.count("keep"); ++i) {
    if (classes[i] != right) continue;
    if (turn.flag("check_steps") && false_equation(answers[i]->text)) continue;
    turn.emit({{"messages", with(chat(question), "assistant", answers[i]->text)},
               {"answer", *final_answer(answers[i]->text)},
               {"pass_rate", rate},
               {"verified", known ? "answer" : "majority"}},
              answers[i]);
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
