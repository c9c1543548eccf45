// Answers to given prompts: the plainest distillation (sequence-level; Kim & Rush 2016,
// arXiv:1606.07947).
//   seed {"prompt", "system"?} or {"messages"}  ->  {"messages": [..., assistant]}

#include "distill/turn.h"

namespace lancet {
namespace {

constexpr DataParameter kParameters[] = {
    {.name = "system",
     .kind = DataParameter::Kind::kWord,
     .help = "System message put before every prompt that has none"}};

void run(Turn& turn) {
  Json messages = turn.seed().contains("messages")
                      ? turn.seed()["messages"]
                      : chat(turn.text("prompt"), turn.text("system", turn.word("system")));
  const TeacherAnswer& answer = turn.ask({.messages = messages});
  turn.emit({{"messages", with(std::move(messages), "assistant", answer.text)}}, &answer);
}

}  // namespace

extern const DataRecipe data_recipe_instruct{
    .name = "instruct",
    .title = "Answers to given prompts",
    .paper = "arXiv:1606.07947",
    .needs = "prompt",
    .parameters = kParameters,
    .requests = [](const DataOptions&) -> std::uint64_t { return 1; },
    .run = run};

}  // namespace lancet
