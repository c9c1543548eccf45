// lancet score: negative log likelihood and perplexity of text.

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/jsonl.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

struct ScoreOptions {
  std::string model, text, file;
  std::int64_t window = 0, stride = 0;
  bool per_token = false;
};

Json result_json(const ScoreResult& result, bool per_token) {
  Json out{{"tokens", result.tokens},
           {"nll", result.nll},
           {"perplexity", result.perplexity},
           {"tokens_per_second", result.tokens_per_second}};
  if (!per_token) return out;
  Json rows = Json::array();
  for (const auto& t : result.per_token) {
    rows.push_back({{"id", t.id}, {"text", t.text}, {"logprob", t.logprob}, {"rank", t.rank}});
  }
  out["per_token"] = rows;
  return out;
}

std::string result_text(const ScoreResult& result) {
  Table table({{"token"}, {"log prob", Table::Align::kRight}, {"rank", Table::Align::kRight}});
  for (const auto& t : result.per_token) {
    table.add({printable(t.text), fmt::format("{:.4f}", t.logprob), std::to_string(t.rank)});
  }
  return table.text() + fmt::format("{} tokens, nll {:.5f}, perplexity {:.4f}, {:.0f} tokens/s\n",
                                    result.tokens, result.nll, result.perplexity,
                                    result.tokens_per_second);
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ScoreOptions>();
  app.add_option("MODEL", options->model, "Any readable model")->required();
  auto* text = app.add_option("--text", options->text, "The text itself");
  auto* file =
      app.add_option("--file", options->file,
                     "A text file (- reads standard input), or JSON lines of {\"text\":...}");
  text->excludes(file);
  app.add_option("--window", options->window,
                 "Tokens seen at once (default: the model's maximum, at most 2048)")
      ->check(CLI::Range(2, 10'000'000));
  app.add_option("--stride", options->stride, "Tokens the window advances by (default: the window)")
      ->check(CLI::Range(1, 10'000'000));
  app.add_flag("--per-token", options->per_token, "Log probability and rank of every token");
  return [options, text, file, &common] {
    if (text->count() + file->count() != 1)
      fail(ErrorKind::kUsage, "score", "expected one of --text and --file, found none",
           "lancet score MODEL --text 'The capital of France is Paris.'");
    if (text->count() > 0 && options->text.empty())
      fail(ErrorKind::kUsage, "score", "expected --text with a text, found an empty one");
    if (common.plan) return print_run_plan(options->model, kActivations, common);
    ScoreRequest request{.model = options->model,
                         .texts = {},
                         .window = options->window,
                         .stride = options->stride,
                         .per_token = options->per_token};
    request.texts =
        text->count() > 0 ? std::vector{options->text} : read_texts(input_path(options->file));
    const auto result = open_engine(common.runtime).score(request, common.runtime);
    common.json ? print_json(result_json(result, options->per_token))
                : print_text(result_text(result));
    return 0;
  };
}

}  // namespace

extern const Command command_score{
    .name = "score",
    .group = "Running a model",
    .summary = "Negative log likelihood and perplexity of text",
    .examples =
        "  lancet score model/ --file book.txt --window 1024 --stride 512\n"
        "  lancet score model/ --text 'The capital of France is Paris.' --per-token",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
