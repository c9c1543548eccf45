// lancet locate: where in the model a fact is recalled: causal tracing, attribution patching, logit
// lens, a sweep of edits over the layers, knowledge neurons.

#include <CLI/CLI.hpp>

#include "cli/checks.h"
#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/outputs.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/replaceable.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

struct LocateArguments {
  std::string prompt, subject, target, requests, report, npz;
  std::vector<std::string> paraphrases;
  bool target_given = false, window_given = false;
  LocateRequest request;
};
using Arguments = std::shared_ptr<LocateArguments>;
using Body = std::function<int()>;

/// The facts of a file are asked for their old answer: `target` is what an edit would put there.
void read_batch(LocateArguments& a) {
  FactsFile file = read_facts(a.requests);
  report_left_out(file, "locate", a.requests);
  a.request.facts = std::move(file.facts);
  a.request.batch = true;
  if (a.request.what == "sweep") return;
  for (Fact& fact : a.request.facts) fact.target = fact.truth.value_or("");
}

void read_facts_of(LocateArguments& a) {
  if (!a.requests.empty()) {
    if (!a.prompt.empty() || !a.subject.empty() || a.target_given)
      fail(ErrorKind::kUsage, "locate",
           "expected --requests, or --prompt and --subject, found both");
    return read_batch(a);
  }
  if (a.prompt.empty() && a.request.what == "lens")
    fail(ErrorKind::kUsage, "locate", "expected --prompt, found none",
         "lancet locate lens MODEL --prompt 'The capital of France is'");
  if (a.prompt.empty())
    fail(ErrorKind::kUsage, "locate", "expected --prompt or --requests, found neither",
         fmt::format("lancet locate {} MODEL --prompt 'The capital of {{}} is' --subject France",
                     a.request.what));
  if (a.target_given && a.target.empty())
    fail(ErrorKind::kUsage, "locate", "expected a target with text, found an empty one",
         "without --target the model's own next token is traced");
  a.request.facts = {{.id = "1",
                      .subject = a.subject,
                      .prompt = a.prompt,
                      .target = a.target,
                      .truth = {},
                      .paraphrases = a.paraphrases,
                      .neighbors = {},
                      .generation = {},
                      .leak = {},
                      .unrelated = {},
                      .lang = {}}};
}

// --- text for people ---

std::string cell(const Json& value) {
  return value.is_number_float() ? fmt::format("{:.4g}", value.get<double>()) : value.dump();
}

/// The token x layer map as characters, darkest where most of p(answer) comes back.
std::string sketch(const Json& fact, const Json& map) {
  constexpr std::string_view kShades = " .:-=+*#%@";
  double low = 0, high = 0;
  for (const Json& row : map["scores"]) {
    for (const Json& value : row) high = std::max(high, value.get<double>());
  }
  low = high;
  for (const Json& row : map["scores"]) {
    for (const Json& value : row) low = std::min(low, value.get<double>());
  }
  Table table({{"token"}, {fmt::format("layers 0 to {}", map["scores"].front().size() - 1)}});
  for (std::size_t i = 0; i < fact["tokens"].size(); ++i) {
    std::string shades = "|";
    for (const Json& value : map["scores"][i]) {
      const double t = high > low ? (value.get<double>() - low) / (high - low) : 0;
      shades += kShades[std::min<std::size_t>(9, static_cast<std::size_t>(t * 9.999))];
    }
    table.add({printable(fact["tokens"][i].get<std::string>(), 30), shades + "|"});
  }
  const Json& best = map["best"];
  return fmt::format("{} (from {:.4g} ' ' to {:.4g} '@'; most at '{}', layer {})\n{}",
                     map["kind"].get<std::string>(), low, high,
                     printable(best["text"].get<std::string>()), best["layer"].dump(),
                     table.text());
}

std::string fact_text(const Json& fact) {
  std::string out =
      fmt::format("p('{}'): {:.4f} as the model is, {:.4f} with the subject corrupted\n",
                  printable(fact["target"].get<std::string>()), fact["high"].get<double>(),
                  fact["low"].get<double>());
  for (const Json& map : fact["maps"]) {
    out += sketch(fact, map);
    if (map.contains("agreement"))
      out += fmt::format("against exact patching: Pearson {}, Spearman {}, {} of the ten best\n",
                         cell(map["agreement"]["pearson"]), cell(map["agreement"]["spearman"]),
                         cell(map["agreement"]["top_overlap"]));
  }
  return out;
}

std::string averages_text(const Json& d) {
  std::string out = fmt::format("{} facts, {} left out\n", d["facts"].size(), d["skipped"].size());
  Table table({{"kind"}, {"role"}, {"most at layer"}, {"effect"}, {"+-"}});
  for (const Json& average : d["averages"]) {
    for (const Json& role : average["roles"]) {
      const Json& effect = role["effect"];
      const auto best =
          static_cast<std::size_t>(std::max_element(effect.begin(), effect.end()) - effect.begin());
      table.add({average["kind"].get<std::string>(), role["role"].get<std::string>(),
                 std::to_string(best), cell(effect[best]), cell(role["margin"][best])});
    }
  }
  return out + table.text();
}

std::string lens_text(const Json& d) {
  Table table({{"layer"}, {"reads"}, {"p"}, {"p(target)"}, {"rank"}});
  const std::size_t last = d["tokens"].size() - 1;
  for (std::size_t layer = 0; layer < d["scores"][last].size(); ++layer) {
    const Json& first = d["top"][last][layer].front();
    table.add({std::to_string(layer), printable(first["token"].get<std::string>(), 30),
               cell(first["p"]), cell(d["scores"][last][layer]), d["ranks"][last][layer].dump()});
  }
  return fmt::format("what each layer would say after '{}' (target '{}')\n{}",
                     printable(d["prompt"].get<std::string>()),
                     printable(d["target_token"].get<std::string>()), table.text());
}

std::string sweep_text(const Json& d) {
  Table table({{"layer"}, {"works"}, {"p(target)"}, {"drift"}});
  for (const Json& trial : d["trials"])
    table.add({trial["layer"].dump(), cell(trial["works"]), cell(trial["p_target"]),
               cell(trial["drift"])});
  return table.text() + "best: layer " + d["best"].dump() + "\n";
}

std::string neurons_text(const Json& fact) {
  Table units({{"layer"}, {"unit"}, {"attribution"}, {"prompts"}});
  for (const Json& unit : fact["units"])
    units.add({unit["layer"].dump(), unit["unit"].dump(), cell(unit["attribution"]),
               unit["prompts"].dump()});
  Table checks({{"prompt"}, {"p"}, {"at zero"}, {"doubled"}, {"random at zero"}, {"doubled"}});
  for (const Json& p : fact["prompts"])
    checks.add({printable(p["prompt"].get<std::string>(), 50), cell(p["p"]), cell(p["suppressed"]),
                cell(p["amplified"]), cell(p["random_suppressed"]), cell(p["random_amplified"])});
  return fmt::format("units for '{}'\n{}{}", printable(fact["target"].get<std::string>()),
                     units.text(), checks.text());
}

std::string result_text(const Json& d) {
  const auto what = d["what"].get<std::string>();
  std::string out;
  if (what == "lens") out = lens_text(d);
  if (what == "sweep") out = sweep_text(d);
  if (what == "neurons") {
    for (const Json& fact : d.value("facts", Json::array({d}))) out += neurons_text(fact);
  }
  if (what == "trace" || what == "patch")
    out = d.contains("averages") ? averages_text(d) : fact_text(d);
  if (d.contains("work"))
    out += fmt::format("{} batches through a layer instead of {} ({:.0f} times fewer)\n",
                       d["work"]["layer_calls"].dump(), d["work"]["plain_layer_calls"].dump(),
                       d["work"]["fewer_calls"].get<double>());
  return out + fmt::format("{:.1f} s\n", d["seconds"].get<double>());
}

/// Options that the others leave without an effect.
void check_unused(const LocateArguments& a) {
  if (a.request.all_facts && a.requests.empty())
    fail(ErrorKind::kUsage, "locate", "--all-facts: expected --requests, found a single fact",
         "facts of a file alone are left out where the model does not give the answer");
  const auto has_window = [](const std::string& kind) {
    return kind == "mlp" || kind == "attention";
  };
  if (a.window_given && !a.request.kinds.empty() &&
      std::ranges::none_of(a.request.kinds, has_window))
    fail(ErrorKind::kUsage, "locate",
         "--window: expected mlp or attention among --kind, found none",
         "the states of the other kinds are restored in one layer at a time");
}

int run(LocateArguments& a, const CommonOptions& common) {
  check_unused(a);
  read_facts_of(a);
  check_apart("locate", {{"--report", a.report}, {"--npz", a.npz}});
  for (const auto& [path, out] :
       {std::pair(&a.report, &a.request.report), std::pair(&a.npz, &a.request.npz)}) {
    if (path->empty()) continue;
    check_place("locate", *path, OutputKind::kFile, {a.request.model, a.requests},
                replaces(common.force, false));
    *out = *path;
  }
  if (common.plan) return print_run_plan(a.request.model, kActivations, common);
  const Json result = open_engine(common.runtime).locate(a.request, common.runtime);
  common.json ? print_json(result) : print_text(result_text(result));
  return 0;
}

// --- options ---

CLI::App* add_verb(CLI::App& app, const char* name, const char* summary, const Arguments& a,
                   const CommonOptions& common, Body& body) {
  CLI::App* sub = app.add_subcommand(name, summary);
  sub->add_option("MODEL", a->request.model, "Any readable model")->required();
  sub->add_option("--prompt", a->prompt,
                  "The statement up to the answer, with {} for the subject or the subject in it");
  sub->add_option("--report", a->report, "Write an HTML report");
  sub->add_option("--npz", a->npz, "Write the arrays for NumPy");
  sub->callback([a, &common, &body, name] {
    a->request.what = name;
    body = [a, &common] { return run(*a, common); };
  });
  return sub;
}

void add_subject(CLI::App* sub, const Arguments& a, const char* target) {
  sub->add_option("--subject", a->subject, "What the fact is about");
  sub->add_option_function<std::string>(
      "--target",
      [a](const std::string& text) {
        a->target = text;
        a->target_given = true;
      },
      target);
  sub->add_option("--requests", a->requests, "Facts: JSON array or lines, as for edit");
}

constexpr const char* kOwnAnswer = "The answer (default: the model's own next token)";

void add_corruption(CLI::App* sub, const Arguments& a) {
  LocateRequest& r = a->request;
  sub->add_option("--kind", r.kinds,
                  "hidden, mlp, attention (default: these three), severed_mlp, severed_attention")
      ->delimiter(',')
      ->check(CLI::IsMember({"hidden", "mlp", "attention", "severed_mlp", "severed_attention"}));
  sub->add_option("--samples", r.samples, "Corrupted copies (default 10)")
      ->check(CLI::Range(1, 1000));
  sub->add_option("--noise", r.noise, "Noise on the subject in units of sigma (default 3)")
      ->check(CLI::Range(0.0, 1e6));
  sub->add_option("--sigma", r.sigma,
                  "Unit of the noise (default: standard deviation of subjects' embeddings)")
      ->check(above_zero());
  sub->add_flag("--all-facts", r.all_facts, "Keep facts whose answer the model does not give");
}

void declare_trace(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub =
      add_verb(app, "trace", "Causal tracing: which states bring the answer back", a, common, body);
  add_subject(sub, a, kOwnAnswer);
  add_corruption(sub, a);
  sub->add_option_function<std::int64_t>(
         "--window",
         [a](std::int64_t layers) {
           a->request.window = layers;
           a->window_given = true;
         },
         "Layers restored together, for mlp and attention (default 10)")
      ->check(CLI::Range(1, 100000));
  sub->footer(
      "Examples:\n"
      "  lancet locate trace model/ --prompt 'The capital of {} is' --subject France --report "
      "trace.html\n"
      "  lancet locate trace model/ --requests facts.jsonl --kind hidden,mlp --npz trace.npz");
}

void declare_patch(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = add_verb(app, "patch", "Attribution patching: the same, estimated by gradients",
                           a, common, body);
  add_subject(sub, a, kOwnAnswer);
  add_corruption(sub, a);
  sub->add_option("--steps", a->request.steps,
                  "Backward passes on the way from corrupted to clean (default 1: at corrupted)")
      ->check(CLI::Range(1, 1000));
  sub->add_flag("--exact", a->request.exact, "Compare with exact patching");
  sub->footer(
      "Examples:\n"
      "  lancet locate patch model/ --prompt 'The capital of {} is' --subject France --exact\n"
      "  lancet locate patch model/ --requests facts.jsonl --steps 5 --report patch.html");
}

void declare_lens(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = add_verb(app, "lens", "Logit lens: what each layer would say", a, common, body);
  sub->add_option("--subject", a->subject, "What stands at {} of the prompt");
  sub->add_option_function<std::string>(
      "--target",
      [a](const std::string& text) {
        a->target = text;
        a->target_given = true;
      },
      "The answer whose probability is drawn (default: the model's own next token)");
  sub->add_option("--top", a->request.top, "Tokens kept of each cell (default 5)")
      ->check(CLI::Range(1, 1000));
  sub->footer(
      "Examples:\n"
      "  lancet locate lens model/ --prompt 'The capital of France is' --report lens.html\n"
      "  lancet locate lens model/ --prompt 'The capital of {} is' --subject France --target Rome "
      "--top 3");
}

void declare_sweep(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub =
      add_verb(app, "sweep", "A quick edit at each layer: efficacy and damage", a, common, body);
  add_subject(sub, a, "The new answer that the edits try to write");
  sub->add_option("--layers", a->request.layers,
                  "all (default), auto (the candidates of edit --layers auto), 5 or 4-8");
  sub->add_option("--method", a->request.method, "Editor (default rome)");
  sub->footer(
      "Examples:\n"
      "  lancet locate sweep model/ --prompt 'The capital of {} is' --subject France --target "
      "Rome\n"
      "  lancet locate sweep model/ --requests facts.jsonl --layers 2-6 --method memit --json");
}

void declare_neurons(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = add_verb(app, "neurons", "Knowledge neurons: MLP units that speak for the answer",
                           a, common, body);
  add_subject(sub, a, kOwnAnswer);
  LocateRequest& r = a->request;
  sub->add_option("--paraphrase", a->paraphrases,
                  "The same fact in other words; may be given more than once")
      ->take_all();
  sub->add_option("--steps", r.integration_steps, "Steps of the integral (default 20)")
      ->check(CLI::Range(1, 1000));
  sub->add_option("--threshold", r.threshold,
                  "Smallest attribution, as a share of the largest (default 0.2)")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--share", r.share, "Share of the prompts that must agree (default 0.4)")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--top", r.most, "Units kept, at most (default 20)")
      ->check(CLI::Range(1, 100000));
  sub->footer(
      "Examples:\n"
      "  lancet locate neurons model/ --prompt 'The capital of {} is' --subject France "
      "--paraphrase \"France's capital is\"\n"
      "  lancet locate neurons model/ --requests facts.jsonl --threshold 0.3 --top 10 --json");
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  const auto arguments = std::make_shared<LocateArguments>();
  const auto body = std::make_shared<Body>();
  app.require_subcommand(1);
  declare_trace(app, arguments, common, *body);
  declare_patch(app, arguments, common, *body);
  declare_lens(app, arguments, common, *body);
  declare_sweep(app, arguments, common, *body);
  declare_neurons(app, arguments, common, *body);
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) sub->fallthrough();
  return [body] { return (*body)(); };
}

}  // namespace

extern const Command command_locate{
    .name = "locate",
    .group = "Surgery",
    .summary = "Where a fact is recalled: causal tracing, patching, lens, sweep, neurons",
    .examples =
        "  lancet locate trace model/ --prompt 'The capital of {} is' --subject France --report "
        "trace.html\n"
        "  lancet locate sweep model/ --prompt 'The capital of {} is' --subject France --target "
        "Rome",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
