// Magpie (Xu et al. 2024, arXiv:2406.08464): an aligned model that is given its chat template only
// up to where the user speaks writes what a user would say; then it answers that.
//   seed {"prefix", "stop"?, "system"?}  ->  {"messages"}
// The prefix is raw text for /v1/completions, e.g. "<|im_start|>user\n" with stop "<|im_end|>"; one
// seed with `samples: 1000` makes a thousand rows. Chat routes cannot do it: they write the
// template themselves.

#include "distill/overlap.h"
#include "distill/text/trim.h"
#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "temperature",
     .fallback = 1,
     .minimum = 0,
     .maximum = 2,
     .help = "Of the user's words (the answer's is the job's)"},
    {.name = "max_tokens",
     .kind = Kind::kInteger,
     .fallback = 512,
     .minimum = 8,
     .maximum = 1e6,
     .help = "Longest words of the user"},
    {.name = "minimum_words",
     .kind = Kind::kInteger,
     .fallback = 3,
     .minimum = 1,
     .maximum = 1000,
     .help = "Shorter words of the user are dropped"}};

void run(Turn& turn) {
  Json settings{{"temperature", turn.number("temperature")},
                {"max_tokens", turn.count("max_tokens")}};
  if (turn.seed().contains("stop")) settings["stop"] = turn.seed()["stop"];
  const TeacherAnswer& spoken =
      turn.ask({.prompt = turn.text("prefix"), .settings = std::move(settings)});
  const std::string user(trim(spoken.text));
  if (plain_words(user).size() < turn.count("minimum_words")) turn.drop("the user said too little");
  if (user.find("<|") != user.npos) turn.drop("template marks in the user's words");
  const Json messages = chat(user, turn.text("system", ""));
  const TeacherAnswer& answer = turn.ask({.messages = messages});
  turn.emit({{"messages", with(messages, "assistant", answer.text)}}, &answer);
}

}  // namespace

extern const DataRecipe data_recipe_magpie{
    .name = "magpie",
    .title = "What users would say, from the chat template alone",
    .paper = "arXiv:2406.08464",
    .needs = "prefix",
    .parameters = kParameters,
    .requests = [](const DataOptions&) -> std::uint64_t { return 2; },
    .run = run,
    .completions = true};

}  // namespace lancet
