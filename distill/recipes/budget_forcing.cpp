// Budget forcing (s1, Muennighoff et al. 2025, arXiv:2501.19393): reasoning of a chosen length.
// When the model would stop thinking too early its end mark is left out and "Wait" put in its
// place; at the limit the end mark is put in, and the answer asked for.
//   seed {"prompt"}  ->  {"messages", "reasoning", "waits", "thought_tokens"}
// Works on raw text (/v1/completions): `template` is the model's own, with {{prompt}} in it and the
// mark that opens its reasoning at the end.

#include "distill/text/trim.h"
#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "template",
     .kind = Kind::kWord,
     .help = "Raw text up to the reasoning, with {{prompt}}",
     .word = "<|im_start|>user\n{{prompt}}<|im_end|>\n<|im_start|>assistant\n<think>\n"},
    {.name = "end_of_thinking",
     .kind = Kind::kWord,
     .help = "Mark between reasoning and answer",
     .word = "</think>"},
    {.name = "end_of_turn",
     .kind = Kind::kWord,
     .help = "Mark after the answer",
     .word = "<|im_end|>"},
    {.name = "final",
     .kind = Kind::kWord,
     .help = "What begins the answer when thinking was cut",
     .word = "\nFinal Answer:"},
    {.name = "waits",
     .kind = Kind::kInteger,
     .fallback = 1,
     .minimum = 0,
     .maximum = 16,
     .help = "Times the end of thinking is ignored (the paper: 1 to 6)"},
    {.name = "thinking_tokens",
     .kind = Kind::kInteger,
     .fallback = 4096,
     .minimum = 16,
     .maximum = 1e6,
     .help = "Tokens of reasoning at most"},
    {.name = "answer_tokens",
     .kind = Kind::kInteger,
     .fallback = 1024,
     .minimum = 16,
     .maximum = 1e6,
     .help = "Tokens of the answer at most"}};

struct Thought {
  std::string text;
  std::uint64_t tokens = 0;
  std::uint32_t waits = 0;
  bool cut = false;
};

Thought think(Turn& turn, const std::string& opening) {
  Thought out;
  const std::uint64_t most = turn.count("thinking_tokens");
  while (true) {
    const TeacherAnswer& piece =
        turn.ask({.prompt = opening + out.text,
                  .settings = {{"stop", {turn.word("end_of_thinking"), turn.word("end_of_turn")}},
                               {"max_tokens", most - out.tokens}},
                  .may_fail = true});
    const bool went_on = piece.ending == Ending::kOk || piece.ending == Ending::kLength;
    if (!went_on && !(piece.ending == Ending::kEmpty && out.waits > 0))
      turn.drop(ending_name(piece.ending));
    out.text += piece.text;
    out.tokens += std::max<std::uint64_t>(1, piece.usage.completion);
    out.cut = piece.ending == Ending::kLength || out.tokens >= most;
    if (out.cut || out.waits == turn.count("waits")) return out;
    ++out.waits;
    out.text += "\nWait";
  }
}

void run(Turn& turn) {
  const std::string prompt = turn.text("prompt");
  const std::string opening =
      fill_prompt(turn.word("template"), {{"prompt", prompt}}, "budget_forcing: template");
  const Thought thought = think(turn, opening);
  const std::string closing =
      turn.word("end_of_thinking") + (thought.cut ? turn.word("final") : "");
  const TeacherAnswer& answer =
      turn.ask({.prompt = opening + thought.text + closing,
                .settings = {{"stop", {turn.word("end_of_turn")}},
                             {"max_tokens", turn.count("answer_tokens")}}});
  Json row{{"messages", with(chat(prompt), "assistant", trim(answer.text))},
           {"reasoning", trim(thought.text)},
           {"waits", thought.waits},
           {"thought_tokens", thought.tokens},
           {"cut", thought.cut}};
  turn.emit(std::move(row));
}

}  // namespace

extern const DataRecipe data_recipe_budget_forcing{
    .name = "budget_forcing",
    .title = "Reasoning made longer or cut to a length",
    .paper = "arXiv:2501.19393",
    .needs = "prompt",
    .parameters = kParameters,
    .requests =
        [](const DataOptions& options) {
          return static_cast<std::uint64_t>(options.numbers[4]) + 2;
        },
    .run = run,
    .completions = true};

}  // namespace lancet
