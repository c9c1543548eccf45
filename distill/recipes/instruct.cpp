// Answers to given prompts: the plainest distillation (sequence-level; Kim & Rush 2016,
// arXiv:1606.07947).
//   seed {"prompt", "system"?} or {"messages"}, "tools"?  ->  {"messages": [..., assistant],
//   "tools"?}
// With tools (of the seed, or of the whole job by teacher.extra.tools) the assistant's message
// holds the calls it makes.

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
  Json settings = Json::object();
  if (turn.seed().contains("tools")) settings["tools"] = turn.seed()["tools"];
  const TeacherAnswer& answer = turn.ask({.messages = messages, .settings = settings});
  Json said{{"role", "assistant"}, {"content", answer.text}};
  if (!answer.tool_calls.is_null()) said["tool_calls"] = answer.tool_calls;
  messages.push_back(std::move(said));
  Json row{{"messages", std::move(messages)}};
  row.update(settings);
  turn.emit(std::move(row), &answer);
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
