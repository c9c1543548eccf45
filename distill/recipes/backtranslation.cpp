// Instruction backtranslation (Li et al. 2023, arXiv:2308.06259): a text that people wrote is the
// answer; the teacher writes the instruction it answers, and grades the pair; only full marks stay.
//   seed {"text"}  ->  {"messages": [user: instruction, assistant: text], "score"}

#include "distill/judge.h"

namespace lancet {
namespace {

constexpr DataParameter kParameters[] = {
    {.name = "minimum_score",
     .fallback = 5,
     .minimum = 1,
     .maximum = 5,
     .help = "Pairs graded lower are dropped (the paper keeps 5)"}};
constexpr std::string_view kPrompts[] = {"instruction", "grade"};

void run(Turn& turn) {
  const std::string text = turn.text("text");
  const TeacherAnswer& instruction =
      turn.ask({.messages = chat(turn.prompt("instruction", {{"text", text}}))});
  const TeacherAnswer& verdict = turn.ask(
      judge_ask(turn.prompt("grade", {{"instruction", instruction.text}, {"text", text}})));
  const auto score = read_score(verdict.text);
  if (!score) turn.drop("the judge gave no score");
  if (*score < turn.number("minimum_score")) turn.drop("score too low");
  turn.emit({{"messages", with(chat(instruction.text), "assistant", text)}, {"score", *score}});
}

}  // namespace

extern const DataRecipe data_recipe_backtranslation{
    .name = "backtranslation",
    .title = "Instructions for texts that people wrote",
    .paper = "arXiv:2308.06259",
    .needs = "text",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests = [](const DataOptions&) -> std::uint64_t { return 2; },
    .run = run};

}  // namespace lancet
