// Persona-driven prompts (PersonaHub, Ge et al. 2024, arXiv:2406.20094): a person described in a
// few words asks what that person would ask, and is answered.
//   seed {"persona"}  ->  {"messages", "persona"}

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr std::string_view kTasks[] = {"instruction", "maths", "knowledge", "coding"};
constexpr DataParameter kParameters[] = {{.name = "task",
                                          .kind = Kind::kWord,
                                          .help = "What the persona asks for",
                                          .word = "instruction",
                                          .choices = kTasks},
                                         {.name = "keep_persona",
                                          .kind = Kind::kFlag,
                                          .fallback = 0,
                                          .help = "The row's system message is the persona"}};
constexpr std::string_view kPrompts[] = {"instruction", "maths", "knowledge", "coding"};

void run(Turn& turn) {
  const std::string persona = turn.text("persona");
  const TeacherAnswer& question =
      turn.ask({.messages = chat(turn.prompt(turn.word("task"), {{"persona", persona}}))});
  const Json messages = chat(question.text, turn.flag("keep_persona") ? persona : "");
  const TeacherAnswer& answer = turn.ask({.messages = messages});
  turn.emit({{"messages", with(messages, "assistant", answer.text)}, {"persona", persona}},
            &answer);
}

}  // namespace

extern const DataRecipe data_recipe_persona{
    .name = "persona",
    .title = "What a described person would ask, answered",
    .paper = "arXiv:2406.20094",
    .needs = "persona",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests = [](const DataOptions&) -> std::uint64_t { return 2; },
    .run = run};

}  // namespace lancet
