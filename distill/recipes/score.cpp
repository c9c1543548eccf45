// The teacher's log probabilities of given texts: what knowledge distillation on a dataset, or on
// what the student itself wrote, needs. Only servers that score prompts can (vLLM, SGLang,
// llama-cpp-python: `echo` of /v1/completions); chat routes and llama.cpp's own server cannot.
//   seed {"text"}  ->  {"text", "teacher": columns over the tokens of the text}
// The first token has no distribution: its row is empty.

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {{.name = "top",
                                          .kind = Kind::kInteger,
                                          .fallback = 20,
                                          .minimum = 0,
                                          .maximum = 1000,
                                          .help = "Alternatives kept for each token"}};

void run(Turn& turn) {
  const std::string text = turn.text("text");
  // One token must be generated: 0 means "to the end of the context" to some servers.
  const TeacherAnswer& answer = turn.ask({.prompt = text,
                                          .settings = {{"echo", true},
                                                       {"logprobs", turn.count("top")},
                                                       {"max_tokens", 1},
                                                       {"temperature", 0.0}},
                                          .may_fail = true});
  if (answer.prompt_tokens.empty()) turn.drop("the server does not score prompts");
  turn.emit({{"text", text}, {"teacher", logprobs_json(answer.prompt_tokens)}});
}

}  // namespace

extern const DataRecipe data_recipe_score{
    .name = "score",
    .title = "Log probabilities of given texts",
    .paper = "arXiv:2306.13649",
    .needs = "text",
    .parameters = kParameters,
    .requests = [](const DataOptions&) -> std::uint64_t { return 1; },
    .run = run};

}  // namespace lancet
