// lancet generate: text from a model.

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/chat.h"
#include "cli/checks.h"
#include "cli/conversation.h"
#include "cli/engine.h"
#include "cli/jsonl.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "cli/token_ids.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

struct GenerateOptions {
  std::string model, prompt, ids_text, chat, messages, file;
  std::vector<std::int32_t> ids;
  std::vector<fs::path> images;
  std::vector<std::string> allowed;
  bool empty_prompt = false;  ///< --prompt ""
  bool converse = false;      ///< --chat without a message
  bool no_lookup = false;
  SamplingOptions sampling;
};

/// "5" and "10-19" as [5, 6) and [10, 20).
std::vector<std::pair<std::int64_t, std::int64_t>> parse_ids(
    const std::vector<std::string>& words) {
  std::vector<std::pair<std::int64_t, std::int64_t>> out;
  for (const std::string_view word : words) {
    const std::size_t dash = word.find('-');
    const auto parse = [word](std::string_view digits) {
      return parse_token_id("generate", "--allow-ids like 5,10-19", digits, word);
    };
    const std::int64_t first = parse(word.substr(0, dash));
    const std::int64_t last = dash == std::string_view::npos ? first : parse(word.substr(dash + 1));
    if (last < first) {
      fail(ErrorKind::kUsage, "generate",
           fmt::format("expected --allow-ids with a range that rises, found '{}'", word));
    }
    out.emplace_back(first, last + 1);
  }
  return out;
}

std::vector<std::int32_t> ids_of_line(const Json& ids, const std::string& where) {
  std::vector<std::int32_t> out;
  for (const Json& id : ids) {
    if (!ids.is_array() || !id.is_number_integer() || id < 0)
      fail(ErrorKind::kInput, "generate", where + ": expected \"ids\" as a list of token ids");
    if (id >= kMostIds)
      fail(ErrorKind::kInput, "generate",
           fmt::format("{}: expected \"ids\" of the vocabulary, found {}", where, id.dump()));
    out.push_back(id.get<std::int32_t>());
  }
  if (out.empty())
    fail(ErrorKind::kInput, "generate", where + ": expected at least one of \"ids\", found none");
  return out;
}

/// One kind of prompt in a line, and nothing that would be passed over: what is beside "messages"
/// is the chat template's.
void check_line(const Json& line, const std::string& where) {
  static const std::vector<std::string_view> kinds{"prompt", "ids", "chat", "messages"};
  if (!line.is_object()) fail(ErrorKind::kInput, "generate", where + ": expected an object");
  std::vector<std::string_view> given;
  for (const std::string_view kind : kinds)
    if (line.contains(kind)) given.push_back(kind);
  if (given.size() > 1)
    fail(ErrorKind::kInput, "generate",
         fmt::format("{}: expected one of {}, found {}", where, fmt::join(kinds, ", "),
                     fmt::join(given, " and ")));
  if (!given.empty() && given.front() == "messages") return;
  for (const auto& [key, value] : line.items()) {
    if (key == "id" || std::ranges::find(kinds, key) != kinds.end()) continue;
    fail(ErrorKind::kInput, "generate",
         fmt::format("{}: expected {} and id, found '{}'", where, fmt::join(kinds, ", "),
                     printable(key)),
         did_you_mean(key, {"prompt", "ids", "chat", "messages", "id"}));
  }
}

/// One line of --file: {"prompt"}, {"ids"}, {"messages"} or {"chat"}, with an optional "id".
Prompt prompt_of_line(const Json& line, std::size_t number, const ModelSource& source,
                      const std::string& file) {
  const std::string where = fmt::format("{}:{}", file, number);
  check_line(line, where);
  const std::string id = json_string(line, "id", where, std::to_string(number));
  if (line.contains("messages"))
    return {id, render_chat(source, line, std::nullopt, true).text, false};
  if (line.contains("ids")) return {id, "", true, 0, ids_of_line(line["ids"], where)};
  if (line.contains("chat")) {
    const Json messages =
        Json::array({{{"role", "user"}, {"content", json_string(line, "chat", where)}}});
    return {id, render_chat(source, messages, std::nullopt, true).text, false};
  }
  return {id, json_string(line, "prompt", where), true};
}

/// Ids of --prompt, in which each <image> is the next picture.
std::vector<std::int32_t> ids_with_images(const GenerateOptions& options,
                                          const RuntimeOptions& runtime) {
  const auto images = open_engine(runtime).image_ids(options.model, options.images, runtime);
  const auto source = ModelSource::open(options.model);
  const Json vocabulary = source.config().value("vocabulary_map", Json());
  const Json place = vocabulary.is_object() ? vocabulary.value("<image>", Json()) : Json();
  const std::vector<std::int32_t> text = Tokenizer::open(source).encode(options.prompt, true).ids;
  const auto places =
      place.is_number_integer() ? std::ranges::count(text, place.get<std::int32_t>()) : 0;
  if (places != std::ssize(images)) {
    fail(ErrorKind::kUsage, "generate",
         fmt::format("expected as many <image> in --prompt as pictures, found {} and {}", places,
                     images.size()));
  }
  std::vector<std::int32_t> out;
  auto image = images.begin();
  for (const std::int32_t id : text) {
    if (place != id) {
      out.push_back(id);
    } else {
      out.insert(out.end(), image->begin(), image->end());
      ++image;
    }
  }
  return out;
}

std::vector<Prompt> prompts(const GenerateOptions& options, const RuntimeOptions& runtime) {
  std::vector<Prompt> out;
  if (!options.images.empty()) {
    out.push_back({"", "", true, 0, ids_with_images(options, runtime)});
  } else if (!options.ids.empty()) {
    out.push_back({"", "", true, 0, options.ids});
  } else if (options.prompt.empty()) {
    const auto source = ModelSource::open(options.model);
    if (!options.file.empty()) {
      const fs::path file = input_path(options.file);
      for_each_json_line(file, [&](const Json& line, std::size_t number) {
        out.push_back(prompt_of_line(line, number, source, file.string()));
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

Json token_json(const LikelyToken& token) {
  return {{"id", token.id}, {"token", token.text}, {"logprob", token.logprob}};
}

Json result_json(const Generation& g, bool logprobs) {
  Json out{{"text", g.text},
           {"ids", g.ids},
           {"finish_reason", g.finish_reason},
           {"prompt_tokens", g.prompt_tokens},
           {"tokens", g.tokens},
           {"tokens_per_second", g.tokens_per_second},
           {"passes", g.passes}};
  if (logprobs) out["logprobs"] = Json::array();
  for (const TokenLogprob& token : g.logprobs) {
    Json entry = token_json(token.said);
    entry["top"] = Json::array();
    for (const LikelyToken& each : token.top) entry["top"].push_back(token_json(each));
    out["logprobs"].push_back(std::move(entry));
  }
  return out;
}

/// The options that only make sense together.
void check_options(const GenerateOptions& options, const CommonOptions& common) {
  if (options.empty_prompt)
    fail(ErrorKind::kUsage, "generate", "expected --prompt with a text, found an empty one");
  std::vector<std::string_view> given;
  if (!options.prompt.empty()) given.emplace_back("--prompt");
  if (!options.ids.empty()) given.emplace_back("--ids");
  if (!options.chat.empty() || options.converse) given.emplace_back("--chat");
  if (!options.messages.empty()) given.emplace_back("--messages");
  if (!options.file.empty()) given.emplace_back("--file");
  if (given.size() != 1)
    fail(ErrorKind::kUsage, "generate",
         fmt::format("expected one of --prompt, --ids, --chat, --messages and --file, found {}",
                     given.empty() ? "none" : fmt::format("{}", fmt::join(given, " and "))),
         given.empty() ? "lancet generate MODEL --prompt 'The capital of France is'" : "");
  if (!options.images.empty() && options.prompt.empty())
    fail(ErrorKind::kUsage, "generate",
         "expected --prompt with an <image> beside --image, found none");
  if (options.converse && common.json)
    fail(ErrorKind::kUsage, "generate",
         "expected --chat with a message beside --json, found none: a conversation is not one "
         "document");
  if (const SamplingOptions& s = options.sampling; s.temperature == 0) {
    const std::string_view cut = s.top_k > 0   ? "--top-k"
                                 : s.top_p < 1 ? "--top-p"
                                 : s.min_p > 0 ? "--min-p"
                                               : "";
    if (!cut.empty())
      fail(ErrorKind::kUsage, "generate",
           fmt::format("expected --temperature above 0 beside {}, found 0", cut),
           "at temperature 0 the likeliest token is said, whatever others are kept");
  }
  if (options.sampling.logprobs >= 0 && !common.json && options.file.empty())
    fail(ErrorKind::kUsage, "generate", "expected --json or --file beside --logprobs, found none");
}

int run(const GenerateOptions& options, const CommonOptions& common) {
  check_options(options, common);
  if (common.plan) return print_run_plan(options.model, 0, common);
  SamplingOptions sampling = options.sampling;
  sampling.allowed_ids = parse_ids(options.allowed);
  if (options.converse) {
    hold_conversation(options.model, sampling, common.runtime);
    return 0;
  }
  const GenerateRequest request{options.model, prompts(options, common.runtime), sampling};
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
    Json document = result_json(results[i], sampling.logprobs >= 0);
    if (!options.file.empty()) document["id"] = request.prompts[i].id;
    if (common.json || !options.file.empty()) print_json(document);
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<GenerateOptions>();
  app.add_option("MODEL", o->model, "Any readable model")->required();
  auto* prompt = app.add_option("--prompt", o->prompt, "Text to continue");
  auto* ids = app.add_option("--ids", o->ids_text, "Token ids to continue, separated by commas");
  app.add_option(
         "--image", o->images,
         "PNG or JPEG picture for an <image> of --prompt, in order (Chameleon); may be given "
         "more than once")
      ->take_all();
  auto* chat = app.add_option("--chat", o->chat,
                              "One user message, through the chat template; without a message: a "
                              "conversation, a line a message, in which Ctrl-C ends an answer")
                   ->expected(0, 1);
  app.add_option("--messages", o->messages, "JSON file of messages, through the chat template");
  app.add_option("--file", o->file,
                 "JSON lines of {\"prompt\"}, {\"ids\"}, {\"chat\"} or {\"messages\"}: many at "
                 "once; answers JSON "
                 "lines; - reads standard input");
  app.add_option("--max-tokens", o->sampling.max_tokens,
                 "At most this many new tokens (default 256)")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--temperature", o->sampling.temperature, "0 = greedy (default)")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", o->sampling.top_k, "Keep the k likeliest tokens, 0 = off")
      ->check(CLI::Range(0, 10'000'000));
  app.add_option("--top-p", o->sampling.top_p,
                 "Keep the smallest set with this probability (default 1)")
      ->check(share());
  app.add_option("--min-p", o->sampling.min_p,
                 "Drop tokens below this share of the likeliest (default 0)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--repetition-penalty", o->sampling.repetition_penalty,
                 "Divides the logits of tokens seen (default 1)")
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--stop", o->sampling.stop, "End before this text; may be given more than once")
      ->take_all();
  app.add_option(
         "--allow-ids", o->allowed,
         "Say these ids and no others, such as 5,10-19; the end token must be among them to "
         "be said")
      ->delimiter(',');
  app.add_option("--modality", o->sampling.modality,
                 "Of a model of text and images: text (default), image (tokens of images only) or "
                 "any")
      ->check(CLI::IsMember({"text", "image", "any"}));
  app.add_flag("--no-lookup", o->no_lookup,
               "Of a single text on the CPU: read one token at a time, without those that followed "
               "the same words before; the same text, later");
  app.add_option("--logprobs", o->sampling.logprobs,
                 "In JSON, log probabilities of the tokens and of the N likeliest beside each")
      ->check(CLI::Range(0, 1000));
  return [o, prompt, ids, chat, &common] {
    if (ids->count() > 0) o->ids = parse_token_ids("generate", "--ids like 1,2,3", o->ids_text);
    o->empty_prompt = prompt->count() > 0 && o->prompt.empty();
    o->converse = chat->count() > 0 && o->chat.empty();
    o->sampling.lookup = !o->no_lookup;
    return run(*o, common);
  };
}

}  // namespace

extern const Command command_generate{
    .name = "generate",
    .group = "Running a model",
    .summary = "Text from a model: greedy or sampled, one prompt or many",
    .examples =
        "  lancet generate model/ --prompt 'The capital of France is' --max-tokens 16\n"
        "  lancet generate model/ --chat 'Name three rivers.' --temperature 0.7 --seed 1\n"
        "  lancet generate model/ --prompt '2 + 2 =' --max-tokens 1 --logprobs 5 --json",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
