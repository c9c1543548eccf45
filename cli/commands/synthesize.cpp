// lancet synthesize: prompts and a teacher to a dataset.

#include <CLI/CLI.hpp>

#include "cli/factory.h"
#include "cli/option_text.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

/// Options that stand for a key of the job: where, and how it is written.
struct JobOption {
  const char* name;
  const char* block;  ///< "teacher", "sampling", "limits", "prices", "data"
  const char* key;
  const char* help;
  bool quoted = false;
};
constexpr JobOption kJobOptions[] = {
    {"--model", "teacher", "model", "Without a job: the model's name at the teacher", true},
    {"--api-key-env", "teacher", "api_key_env", "Environment variable that holds the key", true},
    {"--logprobs", "teacher", "logprobs",
     "Alternatives kept for each token, with their log "
     "probabilities"},
    {"--recipe", "data", "recipe", "Data recipe (default instruct); see lancet list recipes", true},
    {"--samples", "data", "samples", "Draws from every seed (default 1)"},
    {"--limit", "data", "limit", "Use only the first so many seeds"},
    {"--prompts", "data", "prompts", "Folder of edited prompts", true},
    {"--temperature", "sampling", "temperature", "Default 0.7"},
    {"--top-p", "sampling", "top_p", "Default 1"},
    {"--max-tokens", "sampling", "max_tokens", "Longest answer (default 1024)"},
    {"--concurrency", "limits", "concurrency", "Requests in flight at most (default 64)"},
    {"--requests-per-minute", "limits", "requests_per_minute", "Rate limit of the teacher"},
    {"--tokens-per-minute", "limits", "tokens_per_minute", "Rate limit of the teacher"},
    {"--max-requests", "limits", "max_requests", "Stop before one request more is sent"},
    {"--max-total-tokens", "limits", "max_tokens", "Stop before more tokens could be spent"},
    {"--max-usd", "limits", "max_usd", "Stop before more money could be spent"},
    {"--price-input", "prices", "input", "US dollars for a million prompt tokens"},
    {"--price-output", "prices", "output", "US dollars for a million answer tokens"},
};

struct SynthesizeArguments {
  std::string job, output, part, batch_files, name;
  std::vector<std::string> seeds, teachers, settings;
  std::string values[std::size(kJobOptions)];
  bool stream = false, finish = false, retry_failed = false, accept_risk = false;
  CLI::App* app = nullptr;
};

std::string quoted(const std::string& text) { return dump_json(Json(text)); }

std::string list_of(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& each : texts) out += (out.empty() ? "[" : ", ") + quoted(each);
  return out + "]";
}

/// "key: value, ..." of one block's options.
std::string block(const SynthesizeArguments& a, const std::string& name) {
  std::string out;
  for (std::size_t i = 0; i < std::size(kJobOptions); ++i) {
    const JobOption& each = kJobOptions[i];
    if (each.block != name || a.values[i].empty()) continue;
    out += fmt::format("{}: {}, ", each.key, each.quoted ? quoted(a.values[i]) : a.values[i]);
  }
  return out;
}

/// The job that the options say.
std::string job_text(const SynthesizeArguments& a) {
  std::string options;
  for (const std::string& setting : a.settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      fail(ErrorKind::kUsage, "synthesize",
           fmt::format("--set: expected name=value, found '{}'", printable(setting)));
    options +=
        fmt::format("{}: {}, ", quoted(setting.substr(0, equals)), setting.substr(equals + 1));
  }
  std::string data = block(a, "data");
  if (!a.seeds.empty()) data += fmt::format("seeds: {}, ", list_of(a.seeds));
  return fmt::format(
      "teacher: {{url: {}, {}stream: {}, sampling: {{{}}}, limits: {{{}}}, prices: {{{}}}}}\n"
      "data: {{{}options: {{{}}}}}\n",
      list_of(a.teachers), block(a, "teacher"), a.stream, block(a, "sampling"), block(a, "limits"),
      block(a, "prices"), data, options);
}

void check_form(const SynthesizeArguments& a) {
  const bool by_options = !a.teachers.empty() || !a.seeds.empty() || !a.settings.empty() ||
                          a.stream ||
                          std::any_of(std::begin(a.values), std::end(a.values),
                                      [](const std::string& each) { return !each.empty(); });
  if (a.job.empty() && a.teachers.empty())
    fail(ErrorKind::kUsage, "synthesize", "expected JOB.yml, or --teacher, --model and --seeds",
         "lancet synthesize --seeds prompts.jsonl --teacher URL --model NAME -o data.jsonl");
  if (!a.job.empty() && by_options)
    fail(ErrorKind::kUsage, "synthesize",
         "expected JOB.yml alone, found options that the job itself says",
         "beside a job stand -o, --batch-files, --part, --finish, --retry-failed, --name, "
         "--accept-terms-risk and --seed");
}

/// "2/4" -> 2 of 4.
void set_part(const std::string& text, SynthesizeRequest& request) {
  if (text.empty()) return;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%u/%u%c", &request.part, &request.parts, &rest) != 2 ||
      request.part < 1 || request.part > request.parts || request.parts > 10000)
    fail(ErrorKind::kUsage, "synthesize",
         fmt::format("--part: expected k/n with 1 <= k <= n, found '{}'", printable(text)));
}

std::string plan_text(const Json& plan) {
  Table table({{"would synthesize"}, {""}});
  table.add({"recipe", plan["recipe"]});
  table.add({"teacher", plan["model"]});
  table.add({"output", plan["output"]});
  table.add({"seeds", plan["seeds"].dump()});
  const Json& most = plan["estimate"];
  table.add({"requests", "at most " + most["requests"].dump() +
                             (plan["rounds"].get<bool>() ? " a round" : "")});
  table.add({"tokens", fmt::format("about {} in, at most {} out", most["prompt_tokens"].dump(),
                                   most["completion_tokens"].dump())});
  table.add({"cost", most["usd"].is_null()
                         ? "unknown: no prices are given (--price-input, --price-output)"
                         : fmt::format("about ${:.2f} at the most", most["usd"].get<double>())});
  return table.text();
}

std::string result_text(const Json& result) {
  std::string out;
  const Json& spent = result["spent"];
  if (result.contains("batch") && !result["complete"].get<bool>() && result["output"].is_null()) {
    const Json& batch = result["batch"];
    return fmt::format("{} requests written into {} batch files, {} wait in earlier ones\n",
                       batch["written"].dump(), batch["files"].dump(), batch["pending"].dump());
  }
  const std::string name = result["output"].is_null() ? result["journal"].get<std::string>()
                                                      : result["output"].get<std::string>();
  out += fmt::format("{}: {} rows from {} seeds in {:.1f} s, {} tokens in, {} out, ${:.4f}\n", name,
                     result["rows"].dump(), result["seeds"].dump(), result["seconds"].get<double>(),
                     spent["prompt_tokens"].dump(), spent["completion_tokens"].dump(),
                     spent["usd"].get<double>());
  for (const auto& [reason, count] : result["dropped"].items())
    out += fmt::format("  without a row: {} ({})\n", count.dump(), reason);
  if (result["refused"] != 0)
    out += fmt::format("  too much like earlier rows: {}\n", result["refused"].dump());
  return out;
}

/// What says a key of job_text().
std::string option_of(std::string_view key) {
  for (const JobOption& each : kJobOptions) {
    if (each.key == key) return std::string(each.name);
  }
  return key == "url" ? "--teacher" : key == "seeds" ? "--seeds" : "--set";
}

Json synthesized(const SynthesizeRequest& request) {
  try {
    return open_factory().synthesize(request);
  } catch (const Error& error) {
    if (request.text.empty()) throw;
    throw of_options(error, request.text, option_of);
  }
}

int run(const SynthesizeArguments& a, const CommonOptions& common) {
  check_form(a);
  SynthesizeRequest request{.job = a.job,
                            .text = a.job.empty() ? job_text(a) : std::string(),
                            .output = a.output,
                            .batch_files = a.batch_files,
                            .plan = common.plan,
                            .force = common.force,
                            .finish = a.finish,
                            .retry_failed = a.retry_failed,
                            .model_name = a.name,
                            .accept_terms_risk = a.accept_risk};
  set_part(a.part, request);
  if (a.app->count("--seed") > 0) request.seed = common.runtime.seed;
  const Json result = synthesized(request);
  if (common.json) {
    print_json(result);
  } else {
    print_text(common.plan ? plan_text(result) : result_text(result));
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<SynthesizeArguments>();
  a->app = &app;
  app.add_option("JOB", a->job, "A job file (docs/distillation.md)");
  app.add_option("--seeds", a->seeds,
                 "Without a job: *.jsonl, *.txt (a seed a line), or documents");
  app.add_option(
      "--teacher", a->teachers,
      "Without a job: base URL of an OpenAI-compatible server, .../v1; several share the "
      "work");
  for (std::size_t i = 0; i < std::size(kJobOptions); ++i)
    app.add_option(kJobOptions[i].name, a->values[i], kJobOptions[i].help);
  app.add_option("--set", a->settings, "Without a job: name=value of an option of the recipe")
      ->allow_extra_args(false);
  app.add_flag("--stream", a->stream, "Without a job: ask for answers as a stream");
  app.add_option("-o,--output", a->output, "*.jsonl; answers are kept in OUTPUT.journal beside it");
  app.add_option("--batch-files", a->batch_files,
                 "Write OpenAI batch files into this folder, and read what has come back there");
  app.add_option(
      "--part", a->part,
      "k/n: only the k-th of n parts of the seeds, e.g. in a job array; a run without it "
      "joins them");
  app.add_flag("--finish", a->finish, "Ask nothing more: write the rows that are complete");
  app.add_flag("--retry-failed", a->retry_failed,
               "Ask again what was cut, refused, filtered or rejected");
  app.add_option("--name", a->name,
                 "Name of the model to be trained; checked against the teacher's licence");
  app.add_flag("--accept-terms-risk", a->accept_risk,
               "Go on where a teacher's terms forbid the use; recorded");
  return [a, &common] { return run(*a, common); };
}

}  // namespace

extern const Command command_synthesize{
    .name = "synthesize",
    .group = "Distillation",
    .summary = "Prompts and a teacher to a dataset: resumable, capped, never asked twice",
    .examples =
        "  lancet synthesize job.yml\n"
        "  lancet synthesize --seeds prompts.jsonl --teacher http://node1:8000/v1 \\\n"
        "      --model meta-llama/Llama-3.1-405B-Instruct-FP8 -o data.jsonl \\\n"
        "      --max-usd 50 --price-input 3 --price-output 3",
    .declare = declare};

}  // namespace lancet
