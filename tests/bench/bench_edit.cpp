// Edits the facts of a file and prints quality and time: the tables of docs/editing.md. Every fact
// alone, from the original model; with --together all of them in one model, --batch N at a time.
//   bench_edit MODEL FACTS [--method rome] [--layers auto] [--covariance auto] [--limit N]
//              [--perplexity-tokens 1500] [--no-unrelated] [--part K/N] [--option key=value]...
//              [--together [--batch N]] [--setting key=value,key=value]... [--facts] [--json]
// --part takes every N-th fact, from the K-th on, and -K/N all others: what defaults are chosen on
// is kept apart from what is reported. Each --setting is a line of its own, on top of the options;
// values (v*, z) that were searched once are taken over where a setting names only parameters of
// the solve. --facts prints each fact, too.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/table.h"
#include "model/runtime.h"
#include "surgery/contexts.h"
#include "surgery/edit_session.h"
#include "surgery/files/facts.h"

using namespace lancet;

namespace {

using Options = std::map<std::string, std::string>;
using Values = std::map<std::string, at::Tensor>;  ///< by the fact's id

struct Arguments {
  fs::path model, facts;
  std::string method = "rome", layers = "auto", covariance = "auto", part;
  std::size_t limit = 0;
  std::int64_t perplexity_tokens = 1500, batch = 0;
  bool unrelated = true, json = false, together = false, each = false;
  Options options;
  std::vector<std::string> settings;
};

/// "key=value,key=value" on top of `options`.
Options with(Options options, const std::string& setting) {
  for (std::size_t at = 0; at < setting.size();) {
    const std::size_t end = std::min(setting.find(',', at), setting.size());
    const std::string one = setting.substr(at, end - at);
    options[one.substr(0, one.find('='))] = one.substr(one.find('=') + 1);
    at = end + 1;
  }
  return options;
}

bool read_flag(const std::string& name, Arguments& out) {
  if (name == "--no-unrelated") out.unrelated = false;
  if (name == "--json") out.json = true;
  if (name == "--together") out.together = true;
  if (name == "--facts") out.each = true;
  return name == "--no-unrelated" || name == "--json" || name == "--together" || name == "--facts";
}

Arguments parse(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: bench_edit MODEL FACTS [options], see the source\n", stderr);
    std::exit(2);
  }
  Arguments out;
  out.model = argv[1];
  out.facts = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string name = argv[i];
    if (read_flag(name, out) || i + 1 >= argc) continue;
    const std::string value = argv[++i];
    if (name == "--method") out.method = value;
    if (name == "--layers") out.layers = value;
    if (name == "--covariance") out.covariance = value;
    if (name == "--limit") out.limit = std::stoul(value);
    if (name == "--perplexity-tokens") out.perplexity_tokens = std::stoll(value);
    if (name == "--part") out.part = value;
    if (name == "--batch") out.batch = std::stoll(value);
    if (name == "--setting") out.settings.push_back(value);
    if (name == "--option") out.options = with(out.options, value);
  }
  if (out.settings.empty()) out.settings.emplace_back();
  return out;
}

std::vector<Fact> chosen_facts(const Arguments& arguments) {
  std::vector<Fact> facts = read_facts(arguments.facts).facts;
  if (!arguments.part.empty()) {
    const bool others = arguments.part.front() == '-';
    const std::string part = arguments.part.substr(others ? 1 : 0);
    const std::size_t first = std::stoul(part), step = std::stoul(part.substr(part.find('/') + 1));
    std::size_t index = 0;
    std::erase_if(facts, [&](const Fact&) { return (index++ % step == first) == others; });
  }
  if (arguments.limit > 0 && facts.size() > arguments.limit) facts.resize(arguments.limit);
  for (Fact& fact : facts) {
    if (!arguments.unrelated) fact.unrelated.clear();
  }
  return facts;
}

/// What some facts are asked, and what the unedited model says.
struct Asked {
  std::vector<Question> questions;
  std::vector<Answer> before;
};

/// What all edits share.
struct Bench {
  const Arguments& arguments;
  const SurgeryModel& model;
  const Editor& editor;
  LayerChoice choice;
  CovarianceSource covariance;
  double perplexity = 1;
  std::map<std::int64_t, std::vector<std::string>> contexts = {};  ///< by their number
  std::map<std::string, Asked> asked = {};                         ///< by the first fact's id

  const Asked& asked_of(const std::vector<Fact>& facts) {
    const auto [at, fresh] = asked.try_emplace(facts.front().id);
    if (!fresh) return at->second;
    at->second.questions = make_questions(&model.decoder, model.tokenizer, facts);
    at->second.before = ask(model.decoder, at->second.questions);
    return at->second;
  }
};

struct Outcome {
  std::string name;
  FactMetrics metrics;
  double ratio = 1, norm = 0, seconds = 0, passes = 0;  ///< passes and seconds: of one fact
};

/// `known`: values that are taken over, and that receives those found.
Outcome edit(Bench& bench, const std::vector<Fact>& facts, const Parameters& parameters,
             Values& known) {
  const Arguments& arguments = bench.arguments;
  LapTimer watch;
  EditInput input{bench.model.decoder,
                  bench.model.tokenizer,
                  facts,
                  bench.choice.layers,
                  [&](std::int64_t l) { return bench.covariance.matrix(l); },
                  parameters,
                  0,
                  arguments.batch,
                  [&](std::int64_t count) {
                    auto& own = bench.contexts[count];
                    if (own.empty())
                      own = sample_contexts(bench.model.decoder, bench.model.tokenizer, count, 0);
                    return own;
                  }};
  input.values = known;
  const EditPlan plan = bench.editor.plan(input);
  watch.lap("plan");
  const auto& layers = bench.choice.layers;
  const EditedModel edited = realise(
      bench.model, plan, facts, stage_record(bench.editor, parameters, 0, layers, plan), false);
  const Asked& asked = bench.asked_of(facts);
  const auto after = ask(edited.decoder, asked.questions);
  std::vector<FactMetrics> all;
  for (std::size_t f = 0; f < facts.size(); ++f)
    all.push_back(measure(f, asked.questions, after, asked.before));
  Outcome out{facts.front().id + " " + facts.front().subject + " -> " + facts.front().target,
              mean_metrics(all)};
  if (arguments.perplexity_tokens > 0)
    out.ratio =
        shipped_perplexity(edited.decoder, bench.model.tokenizer, arguments.perplexity_tokens) /
        bench.perplexity;
  for (const auto& [name, norm] : edited.relative_norm) out.norm = std::max(out.norm, norm);
  const auto count = static_cast<double>(facts.size());
  out.seconds = watch.laps()["plan"].get<double>() / count;
  // One after the other, a fact's value depends on what was written before it.
  const bool keeps = facts.size() == 1 || (arguments.batch == 0 && bench.editor.batches);
  for (const FactTrace& trace : plan.traces) {
    out.passes += static_cast<double>(trace.losses.size(0)) / count;
    if (keeps && trace.value.defined()) known[trace.id] = trace.value;
  }
  return out;
}

Outcome mean_of(const std::string& name, const std::vector<Outcome>& all) {
  Outcome out{name, {}, 0};
  std::vector<FactMetrics> metrics;
  const auto count = static_cast<double>(all.size());
  for (const Outcome& one : all) {
    metrics.push_back(one.metrics);
    out.ratio += one.ratio / count;
    out.norm += one.norm / count;
    out.seconds += one.seconds / count;
    out.passes += one.passes / count;
  }
  out.metrics = mean_metrics(metrics);
  return out;
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

void add(Table& table, const Outcome& one) {
  const FactMetrics& m = one.metrics;
  table.add({one.name, number(m.es), number(m.em), number(m.ps), number(m.pem), number(m.ns),
             number(m.na), number(m.leak), number(m.leak_unrelated),
             fmt::format("{:.4f}", one.ratio), number(one.norm), fmt::format("{:.1f}", one.passes),
             number(one.seconds)});
}

Json to_json(const Outcome& one) {
  return {{"name", one.name},
          {"mean", metrics_to_json(one.metrics)},
          {"perplexity_ratio", one.ratio},
          {"relative_norm", one.norm},
          {"passes", one.passes},
          {"seconds_per_fact", one.seconds}};
}

Table empty_table() {
  std::vector<Table::Column> columns{{"edit", Table::Align::kLeft}};
  for (const char* name :
       {"es", "em", "ps", "pem", "ns", "na", "leak", "unrelated", "ppl", "norm", "passes", "s"})
    columns.push_back({name, Table::Align::kRight});
  return Table(std::move(columns));
}

/// One setting: every fact alone, or all together. `known` as edit() has it.
std::vector<Outcome> edit_all(Bench& bench, const std::vector<Fact>& facts, const Options& options,
                              Values& known) {
  const Parameters parameters(bench.editor.numbers, bench.editor.words, options);
  if (bench.arguments.together) return {edit(bench, facts, parameters, known)};
  std::vector<Outcome> out;
  for (const Fact& fact : facts) {
    Values own;
    if (const auto found = known.find(fact.id); found != known.end()) own.insert(*found);
    out.push_back(edit(bench, {fact}, parameters, own));
    known.merge(own);
    std::fprintf(stderr, "%s\n", out.back().name.c_str());
  }
  return out;
}

/// Whether a setting leaves what is searched for as it is.
bool keeps_values(const std::string& setting) {
  static const std::set<std::string> kSolve{"protect",   "alike", "lambda", "history", "l2",
                                            "threshold", "ridge", "keys",   "original"};
  for (const auto& [name, value] : with({}, setting)) {
    if (!kSolve.contains(name)) return false;
  }
  return true;
}

int run(const Arguments& arguments) {
  parallel::set_threads(0);
  init_runtime();
  Progress::enable(false);
  const std::vector<Fact> facts = chosen_facts(arguments);
  const Editor& editor = find_editor(arguments.method);
  const SurgeryModel model = load_surgery_model(arguments.model, {});
  Bench bench{arguments, model, editor,
              layers_of(arguments.layers, editor, model, facts.front(), 0),
              CovarianceSource(model.decoder, model.tokenizer, model.source.config(),
                               editor.covariance ? arguments.covariance : "none")};
  for (const std::int64_t layer : bench.choice.layers) (void)bench.covariance.matrix(layer);
  if (arguments.perplexity_tokens > 0)
    bench.perplexity =
        shipped_perplexity(model.decoder, model.tokenizer, arguments.perplexity_tokens);
  Table table = empty_table();
  Json lines = Json::array();
  Values known;
  for (const std::string& setting : arguments.settings) {
    Values fresh;
    const auto all = edit_all(bench, facts, with(arguments.options, setting),
                              keeps_values(setting) ? known : fresh);
    const std::string name =
        fmt::format("{} of {} facts {}", arguments.method, facts.size(), setting);
    for (const Outcome& one : all) {
      if (arguments.each) add(table, one);
    }
    const Outcome mean = mean_of(name, all);
    add(table, mean);
    lines.push_back(to_json(mean));
    std::fputs(table.text().c_str(), stderr);
  }
  std::cout << (arguments.json ? dump_json(lines) + "\n" : table.text());
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
