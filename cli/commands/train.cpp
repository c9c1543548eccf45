// lancet train: a LoRA adapter for a student, from data.

#include <CLI/CLI.hpp>

#include "cli/checks.h"
#include "cli/engine.h"
#include "cli/launch.h"
#include "cli/output.h"
#include "core/bytes.h"
#include "core/log.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

struct TrainArguments {
  TrainRequest request;
  std::vector<std::string> data, rank_pattern, alpha_pattern, loss_options;
  std::string model, out, init, teacher, log_dir, layers, init_weights = "kaiming", expression;
  bool no_shuffle = false;
  int processes = 1;
  CLI::App* app = nullptr;
};

std::pair<std::string, std::string> split_setting(const char* option, const std::string& text) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0)
    fail(ErrorKind::kUsage, "train",
         fmt::format("{}: expected name=value, found '{}'", option, printable(text)));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

double number_of(const char* option, const std::string& text) {
  std::size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end == 0 || end != text.size())
    fail(ErrorKind::kUsage, "train",
         fmt::format("{}: expected a number, found '{}'", option, printable(text)));
  return value;
}

/// "0-5,8" -> 0 1 2 3 4 5 8.
std::vector<std::int64_t> layers_of(const std::string& text) {
  std::vector<std::int64_t> out;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::string part = text.substr(at, text.find(',', at) - at);
    at += part.size() + 1;
    long long first = 0;
    long long last = 0;
    char rest = 0;
    const int found = std::sscanf(part.c_str(), "%lld-%lld%c", &first, &last, &rest);
    if (found == 1) last = first;
    const bool single = found == 1 && std::to_string(first) == part;
    if ((!single && found != 2) || first < 0 || last < first || last > 100000)
      fail(ErrorKind::kUsage, "train",
           fmt::format("--layers: expected numbers and ranges such as 0-5,8, found '{}'",
                       printable(text)));
    for (long long layer = first; layer <= last; ++layer) out.push_back(layer);
  }
  return out;
}

void set_init(const std::string& text, LoraSettings& lora) {
  constexpr std::string_view kFast = "pissa_niter_";
  static const std::map<std::string, LoraInit> kNames{{"kaiming", LoraInit::kKaiming},
                                                      {"gaussian", LoraInit::kGaussian},
                                                      {"pissa", LoraInit::kPissa},
                                                      {"olora", LoraInit::kOlora}};
  if (const auto at = kNames.find(text); at != kNames.end()) {
    lora.init = at->second;
    return;
  }
  if (text.starts_with(kFast)) {
    lora.init = LoraInit::kPissa;
    lora.pissa_iterations =
        static_cast<std::int64_t>(number_of("--init-weights", text.substr(kFast.size())));
    if (lora.pissa_iterations >= 1) return;
  }
  fail(ErrorKind::kUsage, "train",
       fmt::format("--init-weights: expected kaiming, gaussian, pissa, pissa_niter_N or olora, "
                   "found '{}'",
                   printable(text)),
       did_you_mean(text, {"kaiming", "gaussian", "pissa", "pissa_niter_16", "olora"}));
}

void set_lora(const TrainArguments& a, TrainRequest& r) {
  if (!a.expression.empty()) {
    if (a.app->count("--targets") > 0)
      fail(ErrorKind::kUsage, "train", "expected --targets or --target-regex, found both");
    r.lora.targets = {a.expression};
    r.lora.expression = true;
  }
  r.lora.layers = layers_of(a.layers);
  set_init(a.init_weights, r.lora);
  for (const std::string& each : a.rank_pattern) {
    const auto [key, value] = split_setting("--rank-pattern", each);
    r.lora.rank_pattern.emplace_back(key,
                                     static_cast<std::int64_t>(number_of("--rank-pattern", value)));
  }
  for (const std::string& each : a.alpha_pattern) {
    const auto [key, value] = split_setting("--alpha-pattern", each);
    r.lora.alpha_pattern.emplace_back(key, number_of("--alpha-pattern", value));
  }
}

/// What an adapter that is trained on brings with it.
void check_init(const TrainArguments& a) {
  if (a.init.empty()) return;
  for (const char* option :
       {"--rank", "--alpha", "--targets", "--target-regex", "--layers", "--rank-pattern",
        "--alpha-pattern", "--rslora", "--init-weights", "--dora"}) {
    if (a.app->count(option) > 0)
      fail(ErrorKind::kUsage, "train",
           fmt::format("{} cannot stand beside --init: the adapter brings its own", option),
           "MODEL+ADAPTER folds the adapter into the base and trains a new one");
  }
}

/// Options that would move nothing beside the others.
void check_unused(const TrainArguments& a) {
  const TrainRequest& r = a.request;
  const auto refuse = [&](const char* option, bool unused, const std::string& why,
                          const char* hint) {
    if (unused && a.app->count(option) > 0)
      fail(ErrorKind::kUsage, "train", fmt::format("{}: {}", option, why), hint);
  };
  refuse("--epochs", r.steps > 0, "expected it or --steps, found both",
         "--steps goes through the data as often as it takes");
  refuse("--keep", r.save_every == 0 && r.patience == 0, "no checkpoints are kept",
         "--save-every N saves one every N steps");
  refuse("--rollout-tokens", r.loss != "on_policy",
         fmt::format("--loss {} samples nothing", printable(r.loss)), "--loss on_policy does");
  for (const char* option : {"--eval-every", "--patience"})
    refuse(option, r.eval_fraction <= 0, "no rows are held out to evaluate on",
           "--eval-fraction holds out some");
  refuse("--decay", r.schedule.name != "wsd",
         fmt::format("--schedule {} has no such part", printable(r.schedule.name)),
         "--schedule wsd has");
  refuse("--lr-floor", r.schedule.name == "constant", "--schedule constant falls to nothing",
         "cosine, linear and wsd end there");
  const bool by_rows = a.app->count("--batch-size") > 0 && r.batch_size > 0;
  refuse("--batch-tokens", by_rows, "expected it or --batch-size, found both",
         "a micro-batch is so many tokens, or so many rows");
  refuse("--pack", by_rows && r.pack, "--batch-size takes the rows as they come",
         "--batch-tokens packs");
}

TrainRequest request_of(const TrainArguments& a, const CommonOptions& common) {
  TrainRequest r = a.request;
  check_init(a);
  check_unused(a);
  set_lora(a, r);
  r.model = a.model;
  r.out = a.out;
  r.data.assign(a.data.begin(), a.data.end());
  if (!a.init.empty()) r.init = a.init;
  if (!a.teacher.empty()) r.teacher = a.teacher;
  if (a.app->count("--dropout") > 0) r.init_dropout = r.lora.dropout;
  if (!a.log_dir.empty()) r.log_dir = a.log_dir;
  if (r.samples > 0 && a.log_dir.empty())
    fail(ErrorKind::kUsage, "train", "--samples: expected --log-dir, where the report goes");
  for (const std::string& each : a.loss_options) {
    const auto [name, value] = split_setting("--loss-option", each);
    r.loss_options[name] = value;
  }
  r.shuffle = !a.no_shuffle;
  if (a.app->count("--memory") > 0) r.memory = parse_bytes(common.memory);
  r.plan = common.plan;
  r.force = common.force;
  return r;
}

std::string plan_text(const Json& plan) {
  const Json& e = plan["estimate"];
  Table table({{"would train"}, {""}});
  table.add({"adapter", plan["output"].get<std::string>()});
  table.add({"trained values", plan["trainable"].dump()});
  table.add({"steps", plan["steps"].dump()});
  table.add({"memory", fmt::format("{} at the most, {} of it states of layers",
                                   human_bytes(e["peak_memory"].get<std::uint64_t>()),
                                   human_bytes(e["states"].get<std::uint64_t>()))});
  table.add({"checkpointing", e["checkpointing"].get<bool>()
                                  ? fmt::format("every {} layers", e["layers_kept"].dump())
                                  : "off"});
  table.add({"tokens/s", fmt::format("about {:.0f}", e["tokens_per_second"].get<double>())});
  return table.text();
}

/// Evaluations alone: the bar says what steps do.
std::string line_text(const Json& line) {
  if (!line.value("eval", false)) return "";
  return fmt::format("step {}: held-out loss {:.4f}\n", line["step"].dump(),
                     line["loss"].get<double>());
}

std::string result_text(const Json& d) {
  std::string out =
      fmt::format("{}: {} steps, {} tokens in {:.1f} s, last loss {:.4f}",
                  d["adapter"].get<std::string>(), d["steps"].dump(), d["tokens"].dump(),
                  d["seconds"].get<double>(), d["final_loss"].get<double>());
  if (d["saved_step"] != d["steps"])
    out += fmt::format(", saved as it was after step {}", d["saved_step"].dump());
  if (d.contains("eval_loss"))
    out += fmt::format(", held-out loss {:.4f} (before: {:.4f})", d["eval_loss"].get<double>(),
                       d["eval_loss_before"].get<double>());
  return out + fmt::format(", {} memory\n", human_bytes(d["peak_memory"].get<std::uint64_t>()));
}

int run(const TrainArguments& a, const CommonOptions& common) {
  TrainRequest request = request_of(a, common);
  request.settings_only = common.settings_only;
  const TrainSink sink = [&](const Json& line) {
    common.json ? print_json(line) : print_text(line_text(line));
  };
  if (common.settings_only && a.processes > 1)
    fail(ErrorKind::kUsage, "train", "--nproc: a job trains in one process",
         "lancet train --nproc N with the rows that the job has curated");
  if (a.processes > 1 && !common.plan) return launch_ranks(a.processes, common.runtime.threads);
  const Json result = open_engine(common.runtime).train(request, common.runtime, sink);
  if (result.value("rank", 0) > 0) return 0;  // the first one speaks for all
  if (common.json) {
    print_json(result);
  } else {
    print_text(common.plan ? plan_text(result) : result_text(result));
  }
  return 0;
}

void declare_data(CLI::App& app, TrainArguments& a) {
  TrainRequest& r = a.request;
  app.add_option("--data", a.data,
                 "JSON lines of messages, prompt and completion, text, or prompt, chosen and "
                 "rejected; may be given more than once")
      ->required();
  app.add_option("--max-length", r.max_length, "Tokens of a row (default 1024)")
      ->check(CLI::Range(2, 1 << 24));
  app.add_option("--overlong", r.overlong, "Longer rows: truncate (default), skip, error")
      ->check(CLI::IsMember({"truncate", "skip", "error"}));
  app.add_option("--bad-rows", r.bad_rows, "Rows that cannot be used: error (default), skip")
      ->check(CLI::IsMember({"error", "skip"}));
  app.add_option("--ignore-keys", a.request.ignored_keys,
                 "Members of a row that may stand unused; '*' = any")
      ->delimiter(',');
  app.add_flag("--as-chat", r.as_chat, "Prompts and completions go through the chat template");
  app.add_option("--batch-tokens", r.batch_tokens, "Tokens of a micro-batch (default 4096)");
  app.add_option("--batch-size", r.batch_size, "Rows of a micro-batch, instead of tokens");
  app.add_option("--accumulate", r.accumulate,
                 "Micro-batches of a step, of all processes together (default 1)");
  app.add_flag("--pack,!--no-pack", r.pack,
               "Fill micro-batches best-fit (default), or in the order of the rows");
  app.add_flag("--no-shuffle", a.no_shuffle, "Rows in the order of the files");
  app.add_option("--eval-fraction", r.eval_fraction,
                 "Share of the prompts that is held out (default 0)")
      ->check(CLI::Range(0.0, 0.99));
}

void declare_lora(CLI::App& app, TrainArguments& a) {
  LoraSettings& l = a.request.lora;
  app.add_option(
         "--base-quant", a.request.base_quant,
         "Frozen layers in few bits: none (default), nf4, int8, fp8, q8_0, stored (a GGUF's own "
         "blocks)")
      ->check(CLI::IsMember({"none", "nf4", "int8", "fp8", "q8_0", "stored"}));
  app.add_option("--init", a.init, "Train a PEFT adapter on, instead of a new one");
  app.add_option("--rank", l.rank, "Default 16")->check(CLI::Range(1, 4096));
  app.add_option("--alpha", l.alpha, "Scale is alpha / rank (default 32)");
  app.add_flag("--rslora", l.rank_stabilised, "Scale is alpha / sqrt(rank)");
  app.add_option("--dropout", l.dropout, "Of the low-rank input (default 0)");
  app.add_option(
         "--targets", l.targets,
         "Layers by name, such as q_proj,v_proj (embed_tokens and lm_head, too), or all-linear: "
         "those of the blocks (default)")
      ->delimiter(',');
  app.add_option("--target-regex", a.expression, "Layers whose whole name it matches");
  app.add_option("--layers", a.layers, "Of the blocks only these, such as 0-5,8 (default all)");
  app.add_option("--rank-pattern", a.rank_pattern, "name=rank for some of the targets")
      ->allow_extra_args(false);
  app.add_option("--alpha-pattern", a.alpha_pattern, "name=alpha for some of the targets")
      ->allow_extra_args(false);
  app.add_option("--init-weights", a.init_weights,
                 "kaiming (default), gaussian, pissa, pissa_niter_N (by N iterations of a random "
                 "projection), olora");
  app.add_flag("--dora", l.dora, "Learn lengths and directions of the rows apart (DoRA)");
}

void declare_optimizer(CLI::App& app, TrainArguments& a) {
  OptimizerSettings& o = a.request.optimizer;
  ScheduleSettings& s = a.request.schedule;
  app.add_option("--loss", a.request.loss,
                 "sft (default), kd, dpo; with --teacher logits, uld, on_policy; see lancet list "
                 "losses");
  app.add_option("--loss-option", a.loss_options, "name=value of an option of the loss")
      ->allow_extra_args(false);
  app.add_option("--epochs", a.request.epochs, "Default 1");
  app.add_option("--steps", a.request.steps, "Optimizer steps, instead of epochs")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--teacher", a.teacher,
                 "A model that runs beside the student (losses logits, uld, on_policy)");
  app.add_option("--rollout-tokens", a.request.rollout_tokens,
                 "on_policy: tokens of an answer that the student samples (default 256)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--optimizer", o.name, "adamw (default), adamw8bit")
      ->check(CLI::IsMember({"adamw", "adamw8bit"}));
  app.add_option("--lr", o.lr, "Highest learning rate (default 2e-4)")->check(above_zero());
  app.add_option("--lora-plus", o.lora_plus, "Learning rate of B over that of A (default 1)");
  app.add_option("--beta1", o.beta1, "Default 0.9");
  app.add_option("--beta2", o.beta2, "Default 0.999");
  app.add_option("--epsilon", o.epsilon, "Default 1e-8");
  app.add_option("--weight-decay", o.weight_decay, "Default 0");
  app.add_option("--clip", o.clip, "Largest norm of the gradient (default 1), 0 = any");
  app.add_option("--schedule", s.name, "cosine (default), linear, constant, wsd")
      ->check(CLI::IsMember({"cosine", "linear", "constant", "wsd"}));
  app.add_option("--warmup", s.warmup, "Share of the steps (default 0.03), or a number of steps")
      ->check(not_negative());
  app.add_option("--lr-floor", s.floor,
                 "Where cosine, linear and wsd end, as a share of --lr (default 0.1)");
  app.add_option("--decay", s.decay,
                 "wsd: last share of the steps, in which it falls (default 0.2)");
}

void declare_run(CLI::App& app, TrainArguments& a) {
  TrainRequest& r = a.request;
  app.add_option("--eval-every", r.eval_every,
                 "Steps between evaluations (default: first and last)")
      ->check(CLI::Range(0, 1'000'000'000));
  app.add_option("--patience", r.patience,
                 "Stop after so many evaluations without a better one, and keep the best")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--save-every", r.save_every, "Steps between checkpoints (default: none)")
      ->check(CLI::Range(0, 1'000'000'000));
  app.add_option("--keep", r.keep, "Checkpoints kept beside the best one (default 2)")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--samples", r.samples,
                 "With --log-dir: prompts answered before and after, in the report (default 0)")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--forgetting", r.forgetting,
               "Measure perplexity and small tests of the base's abilities before and after");
  app.add_option("--log-dir", a.log_dir, "JSON lines, TensorBoard events and a report go there");
  app.add_option("--nproc", a.processes,
                 "Processes on this machine that share the micro-batches of a step (default 1); "
                 "under torchrun, Slurm or mpirun they are found by themselves")
      ->check(CLI::Range(1, 1024));
  app.add_option("--rank-timeout", r.rank_timeout,
                 "Seconds that processes wait for each other to begin (default 600)")
      ->check(CLI::Range(1.0, 86400.0));
  app.add_option("--checkpointing", r.checkpointing,
                 "Compute layers again instead of keeping their states: auto (default: where "
                 "memory, or --memory, asks for it), on, off")
      ->check(CLI::IsMember({"auto", "on", "off"}));
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<TrainArguments>();
  a->app = &app;
  app.add_option("MODEL", a->model, "Any readable model: the frozen base")->required();
  app.add_option("-o,--out", a->out, "The adapter, a PEFT directory")->required();
  declare_data(app, *a);
  declare_lora(app, *a);
  declare_optimizer(app, *a);
  declare_run(app, *a);
  return [a, &common] { return run(*a, common); };
}

}  // namespace

extern const Command command_train{
    .name = "train",
    .group = "Distillation",
    .summary =
        "A LoRA adapter from data: fine-tuning, distillation, preferences; resumable to the bit",
    .examples =
        "  lancet train model/ --data answers.jsonl -o adapter/ --epochs 2 --eval-fraction 0.1\n"
        "  lancet train model/ --data pairs.jsonl --loss dpo -o adapter/ --lr 5e-5 --save-every 50",
    .runs_model = true,
    .dtype = "of the frozen base in the computation; the adapter is float32",
    .memory = "Bound on the memory of the run (default: four fifths of what is free)",
    .declare = declare};

}  // namespace lancet
