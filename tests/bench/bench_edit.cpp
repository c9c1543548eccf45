// Edits every fact of a file alone, from the original model, and prints quality and time: the table
// of docs/editing.md.
//   bench_edit MODEL FACTS [--method rome] [--layers auto] [--covariance auto] [--limit N]
//   [--perplexity-tokens 1500] [--no-unrelated]
//              [--option key=value]... [--json]
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/table.h"
#include "model/runtime.h"
#include "surgery/edit_session.h"
#include "surgery/files/facts.h"
#include "surgery/subject.h"

using namespace lancet;

namespace {

struct Arguments {
  fs::path model, facts;
  std::string method = "rome", layers = "auto", covariance = "auto";
  std::size_t limit = 0;
  std::int64_t perplexity_tokens = 1500;
  bool unrelated = true, json = false;
  std::map<std::string, std::string> options;
};

Arguments parse(int argc, char** argv) {
  if (argc < 3) {
    std::fputs(
        "usage: bench_edit MODEL FACTS [--method M] [--layers L] [--covariance C] [--limit N] "
        "[--option k=v]... "
        "[--json]\n",
        stderr);
    std::exit(2);
  }
  Arguments out;
  out.model = argv[1];
  out.facts = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--no-unrelated") out.unrelated = false;
    if (name == "--json") out.json = true;
    if (i + 1 >= argc || name == "--no-unrelated" || name == "--json") continue;
    const std::string value = argv[++i];
    if (name == "--method") out.method = value;
    if (name == "--layers") out.layers = value;
    if (name == "--covariance") out.covariance = value;
    if (name == "--limit") out.limit = std::stoul(value);
    if (name == "--perplexity-tokens") out.perplexity_tokens = std::stoll(value);
    if (name == "--option")
      out.options[value.substr(0, value.find('='))] = value.substr(value.find('=') + 1);
  }
  return out;
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

struct Outcome {
  FactMetrics metrics;
  double ratio = 1, norm = 0, seconds = 0;
  double probability = 0;  ///< of the target on the prompt
  std::int64_t passes = 0;
};

Outcome edit_alone(const SurgeryModel& model, const Editor& editor, const Parameters& parameters,
                   CovarianceSource& covariance, const Fact& fact,
                   const std::vector<std::int64_t>& layers, double perplexity,
                   std::int64_t tokens) {
  Stopwatch watch;
  const EditPlan plan = editor.plan({model.decoder,
                                     model.tokenizer,
                                     {fact},
                                     layers,
                                     [&](std::int64_t l) { return covariance.matrix(l); },
                                     parameters,
                                     0});
  watch.lap("plan");
  const EditedModel edited =
      realise(model, plan, {fact}, stage_record(editor, parameters, 0, layers, plan), false);
  const auto questions = make_questions(&model.decoder, model.tokenizer, {fact});
  Outcome out;
  const auto after = ask(edited.decoder, questions);
  out.metrics = measure(0, questions, after, ask(model.decoder, questions));
  out.probability = std::exp(-after.front().nll_target);
  if (tokens > 0)
    out.ratio = shipped_perplexity(edited.decoder, model.tokenizer, tokens) / perplexity;
  out.norm = edited.relative_norm.begin()->second;
  out.seconds = watch.laps()["plan"].get<double>();
  out.passes = plan.traces.front().losses.size(0);
  return out;
}

int run(const Arguments& arguments) {
  parallel::set_threads(0);
  init_runtime();
  Progress::enable(false);
  auto facts = read_facts(arguments.facts).facts;
  if (arguments.limit > 0 && facts.size() > arguments.limit) facts.resize(arguments.limit);
  Stopwatch watch;
  const SurgeryModel model = load_surgery_model(arguments.model, {});
  watch.lap("load");
  const Editor& editor = find_editor(arguments.method);
  const Parameters parameters(editor.numbers, editor.words, arguments.options);
  const LayerChoice choice = layers_of(arguments.layers, editor, model, facts.front(), 0);
  CovarianceSource covariance(model.decoder, model.tokenizer, model.source.config(),
                              editor.covariance ? arguments.covariance : "none");
  for (const std::int64_t layer : choice.layers) (void)covariance.matrix(layer);
  watch.lap("covariance");
  const double perplexity =
      arguments.perplexity_tokens > 0
          ? shipped_perplexity(model.decoder, model.tokenizer, arguments.perplexity_tokens)
          : 1;
  watch.lap("perplexity");
  using Align = Table::Align;
  Table table({{"fact"},
               {"es", Align::kRight},
               {"em", Align::kRight},
               {"ps", Align::kRight},
               {"pem", Align::kRight},
               {"ns", Align::kRight},
               {"na", Align::kRight},
               {"leak", Align::kRight},
               {"unrelated", Align::kRight},
               {"ppl", Align::kRight},
               {"norm", Align::kRight},
               {"passes", Align::kRight},
               {"p", Align::kRight},
               {"s", Align::kRight}});
  std::vector<FactMetrics> all;
  double ratio = 0, norm = 0, seconds = 0, passes = 0;
  for (Fact& fact : facts) {
    if (!arguments.unrelated) fact.unrelated.clear();
    const Outcome outcome = edit_alone(model, editor, parameters, covariance, fact, choice.layers,
                                       perplexity, arguments.perplexity_tokens);
    const FactMetrics& m = outcome.metrics;
    table.add({fact.id + " " + fact.subject + " -> " + fact.target, number(m.es), number(m.em),
               number(m.ps), number(m.pem), number(m.ns), number(m.na), number(m.leak),
               number(m.leak_unrelated), number(outcome.ratio), number(outcome.norm),
               std::to_string(outcome.passes), number(outcome.probability),
               number(outcome.seconds)});
    std::fprintf(stderr, "%s es %s em %s ps %s ns %s na %s leak %s norm %.3f p %.3f passes %d\n",
                 fact.id.c_str(), number(m.es).c_str(), number(m.em).c_str(), number(m.ps).c_str(),
                 number(m.ns).c_str(), number(m.na).c_str(), number(m.leak).c_str(), outcome.norm,
                 outcome.probability, static_cast<int>(outcome.passes));
    all.push_back(m);
    ratio += outcome.ratio;
    norm += outcome.norm;
    seconds += outcome.seconds;
    passes += static_cast<double>(outcome.passes);
  }
  const auto count = static_cast<double>(facts.size());
  const FactMetrics mean = mean_metrics(all);
  if (arguments.json) {
    Json json{{"facts", facts.size()},
              {"layers", choice.layers},
              {"mean", metrics_to_json(mean)},
              {"perplexity_ratio", ratio / count},
              {"relative_norm", norm / count},
              {"passes", passes / count},
              {"seconds_per_plan", seconds / count},
              {"timings", watch.laps()}};
    std::cout << dump_json(json) << "\n";
    return 0;
  }
  table.add({"mean", number(mean.es), number(mean.em), number(mean.ps), number(mean.pem),
             number(mean.ns), number(mean.na), number(mean.leak), number(mean.leak_unrelated),
             fmt::format("{:.4f}", ratio / count), number(norm / count),
             fmt::format("{:.1f}", passes / count), "", number(seconds / count)});
  std::cout << table.text() << dump_json(watch.laps()) << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\nhint: %s\n", error.what(), error.hint().c_str());
    return error.exit_code();
  }
}
