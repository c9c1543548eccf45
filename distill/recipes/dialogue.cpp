// Dialogues of several turns: the teacher answers, then speaks as the user, who has read the answer
// and goes on (the self-chat of Baize, Xu et al. 2023, arXiv:2304.01196, with the user's side asked
// for apart so that the assistant never writes it).
//   seed {"prompt"}  ->  {"messages": [user, assistant, user, assistant, ...]}

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {{.name = "turns",
                                          .kind = Kind::kInteger,
                                          .fallback = 3,
                                          .minimum = 1,
                                          .maximum = 20,
                                          .help = "Answers of the assistant at most"},
                                         {.name = "minimum_turns",
                                          .kind = Kind::kInteger,
                                          .fallback = 2,
                                          .minimum = 1,
                                          .maximum = 20,
                                          .help = "Shorter dialogues are dropped"}};
constexpr std::string_view kPrompts[] = {"user"};
constexpr std::string_view kEnd = "[END]";

std::string transcript(const Json& messages) {
  std::string out;
  for (const Json& each : messages)
    out += (each["role"] == "user" ? "User: " : "Assistant: ") +
           each["content"].get<std::string>() + "\n\n";
  return out;
}

void run(Turn& turn) {
  Json messages = chat(turn.text("prompt"));
  const TeacherAnswer* last = nullptr;
  std::uint32_t spoken = 0;
  while (true) {
    // The dialogue up to a turn that was cut is still a dialogue.
    const TeacherAnswer& answer = turn.ask({.messages = messages, .may_fail = spoken > 0});
    if (answer.ending != Ending::kOk) {
      messages.erase(messages.size() - 1);
      break;
    }
    messages = with(std::move(messages), "assistant", answer.text);
    last = &answer;
    if (++spoken == turn.count("turns")) break;
    const TeacherAnswer& user =
        turn.ask({.messages = chat(turn.prompt("user", {{"dialogue", transcript(messages)}})),
                  .may_fail = true});
    if (user.ending != Ending::kOk || user.text.find(kEnd) != std::string::npos) break;
    messages = with(std::move(messages), "user", user.text);
  }
  if (spoken < turn.count("minimum_turns")) turn.drop("dialogue too short");
  turn.emit({{"messages", messages}}, last);
}

}  // namespace

extern const DataRecipe data_recipe_dialogue{
    .name = "dialogue",
    .title = "Dialogues of several turns",
    .paper = "arXiv:2304.01196",
    .needs = "prompt",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) {
          return 2 * static_cast<std::uint64_t>(options.numbers[0]) - 1;
        },
    .run = run};

}  // namespace lancet
