// The teacher's log probabilities of given texts: what knowledge distillation on a dataset, or on
// what the student itself wrote, needs. Only servers that score prompts can: by `echo` of
// /v1/completions (vLLM, SGLang, llama-cpp-python) or by vLLM's own `prompt_logprobs`, which tells
// token ids in any case. Chat routes and llama.cpp's own server cannot.
//   seed {"text"}  ->  {"text", "teacher": columns over the tokens of the text}
// The first token has no distribution: its row is empty.

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr std::string_view kWays[] = {"echo", "prompt_logprobs"};
constexpr DataParameter kParameters[] = {{.name = "top",
                                          .kind = Kind::kInteger,
                                          .fallback = 20,
                                          .minimum = 0,
                                          .maximum = 1000,
                                          .help = "Alternatives kept for each token"},
                                         {.name = "by",
                                          .kind = Kind::kWord,
                                          .help = "How the server is asked",
                                          .word = "echo",
                                          .choices = kWays}};

Json settings(const Turn& turn) {
  // One token must be generated: 0 means "to the end of the context" to some servers.
  Json out{{"max_tokens", 1}, {"temperature", 0.0}};
  if (turn.word("by") == "echo") {
    out["echo"] = true;
    out["logprobs"] = turn.count("top");
  } else {
    out["prompt_logprobs"] = turn.count("top");
    out["return_token_ids"] = true;
    out["logprobs"] = nullptr;  // none of the token that is generated
  }
  return out;
}

void run(Turn& turn) {
  const std::string text = turn.text("text");
  const TeacherAnswer& answer =
      turn.ask({.prompt = text, .settings = settings(turn), .may_fail = true});
  if (answer.prompt_tokens.empty()) turn.drop("the server does not score prompts");
  turn.emit({{"text", text}, {"teacher", turn.columns(answer.prompt_tokens)}});
}

}  // namespace

extern const DataRecipe data_recipe_score{
    .name = "score",
    .title = "Log probabilities of given texts",
    .paper = "arXiv:2306.13649",
    .needs = "text",
    .parameters = kParameters,
    .requests = [](const DataOptions&) -> std::uint64_t { return 1; },
    .run = run,
    .rows = RowKind::kText,
    .completions = true};

}  // namespace lancet
