// lancet probe: what a model says about facts: efficacy, paraphrases, neighbours, leaks, fluency,
// perplexity.

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/log.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/replaceable.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

struct ProbeOptions {
  std::string model, base, requests, references, report, metrics = "all";
  std::int64_t perplexity_tokens = 0;
};

std::string cell(const Json& row, const char* key) {
  const Json value = row.value(key, Json());
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
  return value.is_number() ? fmt::format("{:.3g}", value.get<double>()) : value.dump();
}

std::string result_text(const Json& document) {
  const std::vector<const char*> keys{"es", "em", "ps", "ns", "ge", "rs", "leak"};
  std::vector<Table::Column> columns{{"fact"}};
  for (const char* key : keys) columns.push_back({key, Table::Align::kRight});
  Table table(columns);
  const auto add = [&](const std::string& name, const Json& row) {
    std::vector<std::string> cells{name};
    for (const char* key : keys) cells.push_back(cell(row, key));
    table.add(std::move(cells));
  };
  for (const auto& fact : document["facts"]) add(printable(fact.value("id", "?"), 40), fact);
  add("mean", document["mean"]);
  const Json& mean = document["mean"];
  std::string perplexity = "perplexity " + cell(mean, "perplexity");
  if (mean.contains("perplexity_ratio"))
    perplexity += fmt::format(", of the base {}, ratio {:.4f}", cell(mean, "perplexity_base"),
                              mean["perplexity_ratio"].get<double>());
  return table.text() + perplexity + "\n";
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<ProbeOptions>();
  app.add_option("MODEL", o->model, "Any readable model")->required();
  app.add_option("--requests", o->requests, "Facts: JSON array or lines, as for edit")->required();
  app.add_option("--base", o->base,
                 "The model before the edit: neighbours' text and perplexity are compared with it");
  app.add_option("--metrics", o->metrics, "all (default)")->check(CLI::IsMember({"all"}));
  app.add_option("--perplexity-tokens", o->perplexity_tokens,
                 "Tokens of the shipped text whose perplexity is taken (default: all, about 5000)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  app.add_option(
      "--reference-texts", o->references,
      "Folder of attribute_snippets.json, idf.npy and tfidf_vocab.json as published with "
      "ROME, for RS of CounterFact records");
  app.add_option("--report", o->report, "Write an HTML report");
  return [o, &common] {
    FactsFile file = read_facts(o->requests);
    report_left_out(file, "probe", o->requests);
    ProbeRequest request{.model = o->model,
                         .base = {},
                         .facts = std::move(file.facts),
                         .perplexity_tokens = o->perplexity_tokens,
                         .reference_texts = {},
                         .report = {}};
    if (!o->base.empty()) request.base = o->base;
    if (!o->references.empty()) request.reference_texts = o->references;
    if (!o->report.empty()) {
      check_place("probe", o->report, OutputKind::kFile,
                  {o->model, o->base, o->requests, o->references}, replaces(common.force, false));
      request.report = o->report;
    }
    if (common.plan) return print_run_plan(o->model, kActivations, common);
    Json result = open_engine(common.runtime).probe(request, common.runtime);
    result["left_out"] = left_out_json(file);
    common.json ? print_json(result) : print_text(result_text(result));
    return 0;
  };
}

}  // namespace

extern const Command command_probe{
    .name = "probe",
    .group = "Surgery",
    .summary =
        "What a model says about facts: efficacy, paraphrases, neighbours, leaks, perplexity",
    .examples =
        "  lancet probe edited/ --base model/ --requests facts.jsonl\n"
        "  lancet probe model/ --requests facts.jsonl --json",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
