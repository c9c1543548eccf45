// lancet generate: text from a model.

#include <CLI/CLI.hpp>

#include "cli/chat.h"
#include "cli/engine.h"
#include "cli/jsonl.h"
#include "cli/output.h"
#include "core/log.h"

namespace lancet {
namespace {

struct GenerateOptions {
  std::string model, prompt, chat, messages, file;
  SamplingOptions sampling;
};

/// One line of --file: {"prompt"} or {"messages"} or {"chat"}, with an optional "id".
Prompt prompt_of_line(const Json& line, std::size_t number, const ModelSource& source,
                      const std::string& file) {
  const std::string where = fmt::format("{}:{}", file, number);
  const std::string id = json_string(line, "id", where, std::to_string(number));
  if (line.contains("messages"))
    return {id, render_chat(source, line, std::nullopt, true).text, false};
  if (line.contains("chat")) {
    const Json messages =
        Json::array({{{"role", "user"}, {"content", json_string(line, "chat", where)}}});
    return {id, render_chat(source, messages, std::nullopt, true).text, false};
  }
  return {id, json_string(line, "prompt", where), true};
}

std::vector<Prompt> prompts(const GenerateOptions& options) {
  std::vector<Prompt> out;
  if (options.prompt.empty()) {
    const auto source = ModelSource::open(options.model);
    if (!options.file.empty()) {
      for_each_json_line(options.file, [&](const Json& line, std::size_t number) {
        out.push_back(prompt_of_line(line, number, source, options.file));
      });
    } else if (!options.messages.empty()) {
      out.push_back(
          {"", render_chat(source, read_json(options.messages), std::nullopt, true).text, false});
    } else {
      const Json messages = Json::array({{{"role", "user"}, {"content", options.chat}}});
      out.push_back({"", render_chat(source, messages, std::nullopt, true).text, false});
    }
  } else {
    out.push_back({"", options.prompt, true});
  }
  return out;
}

Json result_json(const Generation& g) {
  return {{"text", g.text},
          {"ids", g.ids},
          {"finish_reason", g.finish_reason},
          {"prompt_tokens", g.prompt_tokens},
          {"tokens", g.tokens},
          {"tokens_per_second", g.tokens_per_second}};
}

int run(const GenerateOptions& options, const CommonOptions& common) {
  const int given = !options.prompt.empty() + !options.chat.empty() + !options.messages.empty() +
                    !options.file.empty();
  if (given != 1)
    fail(ErrorKind::kUsage, "generate", "expected one of --prompt, --chat, --messages and --file");
  const GenerateRequest request{options.model, prompts(options), options.sampling};
  const bool stream = !common.json && options.file.empty();
  TextSink sink;
  if (stream) sink = [](std::size_t, const std::string& text) { print_text(text); };
  const auto results = open_engine(common.runtime).generate(request, common.runtime, sink);
  if (stream) {
    print_text("\n");
    const auto& g = results.front();
    log::info(fmt::format("{} tokens, {:.1f} tokens/s, {}", g.tokens, g.tokens_per_second,
                          g.finish_reason));
    return 0;
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    Json document = result_json(results[i]);
    if (!options.file.empty()) document["id"] = request.prompts[i].id;
    if (common.json || !options.file.empty()) print_json(document);
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<GenerateOptions>();
  app.add_option("MODEL", o->model, "Any readable model")->required();
  app.add_option("--prompt", o->prompt, "Text to continue");
  app.add_option("--chat", o->chat, "One user message, through the chat template");
  app.add_option("--messages", o->messages, "JSON file of messages, through the chat template");
  app.add_option(
      "--file", o->file,
      "JSON lines of {\"prompt\"}, {\"chat\"} or {\"messages\"}: many at once; answers JSON lines");
  app.add_option("--max-tokens", o->sampling.max_tokens,
                 "At most this many new tokens (default 256)")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--temperature", o->sampling.temperature, "0 = greedy (default)")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", o->sampling.top_k, "Keep the k likeliest tokens, 0 = off")
      ->check(CLI::Range(0, 10'000'000));
  app.add_option("--top-p", o->sampling.top_p,
                 "Keep the smallest set with this probability (default 1)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--min-p", o->sampling.min_p,
                 "Drop tokens below this share of the likeliest (default 0)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--repetition-penalty", o->sampling.repetition_penalty,
                 "Divides the logits of tokens seen (default 1)")
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--stop", o->sampling.stop, "End before this text; may be given more than once")
      ->take_all();
  return [o, &common] { return run(*o, common); };
}

}  // namespace

extern const Command command_generate{
    .name = "generate",
    .group = "Running a model",
    .summary = "Text from a model: greedy or sampled, one prompt or many",
    .examples =
        "  lancet generate model/ --prompt 'The capital of France is' --max-tokens 16\n"
        "  lancet generate model/ --chat 'Name three rivers.' --temperature 0.7 --seed 1",
    .declare = declare};

}  // namespace lancet
