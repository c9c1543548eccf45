// lancet curate: rows of training data in, rows that passed every filter out.

#include <algorithm>

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/factory.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

struct CurateArguments {
  std::vector<std::string> inputs, decontaminate, filters, teachers, licences;
  std::string output, dedup, report, student, name;
  bool accept_risk = false, strict = false;
};

/// "length:min_words=5,max_words=900" -> length with its settings.
FilterRequest parse_filter(const std::string& text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  FilterRequest filter{.name = text.substr(0, colon), .settings = {}};
  for (std::size_t at = colon + 1; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string setting = text.substr(at, end - at);
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      fail(ErrorKind::kUsage, "curate",
           fmt::format("--filter {}: expected key=value, found '{}'", printable(filter.name),
                       printable(setting)),
           "e.g. --filter length:min_words=5,max_words=900");
    filter.settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
    at = end + 1;
  }
  return filter;
}

/// Which filters see all rows: they come last, after --dedup.
bool selects(const std::string& name) {
  for (const Json& row : open_factory().filters()) {
    if (row["name"] == name) return row["selects"].get<bool>();
  }
  return false;
}

/// --filter's in their order, --decontaminate (in the place of a --filter decontaminate without a
/// set, and with its settings, where there is one), --dedup, then the selecting filters in their
/// order.
std::vector<FilterRequest> ordered(const CurateArguments& a) {
  std::vector<FilterRequest> filters, last;
  for (const std::string& text : a.filters) {
    FilterRequest filter = parse_filter(text);
    (selects(filter.name) ? last : filters).push_back(std::move(filter));
  }
  if (!a.decontaminate.empty()) {
    auto place = std::ranges::find_if(filters, [](const FilterRequest& filter) {
      const bool own = std::ranges::count(filter.settings, "set",
                                          &std::pair<std::string, std::string>::first) > 0;
      return filter.name == "decontaminate" && !own;
    });
    if (place == filters.end())
      place = filters.insert(place, {.name = "decontaminate", .settings = {}});
    for (const std::string& set : a.decontaminate) place->settings.emplace_back("set", set);
  }
  if (!a.dedup.empty()) filters.push_back(parse_filter(a.dedup));
  filters.insert(filters.end(), last.begin(), last.end());
  return filters;
}

/// The student is opened (its headers) before the first row is read.
ScoreTexts student_scores(const std::string& model, const RuntimeOptions& runtime) {
  if (model.empty()) return {};
  (void)open_engine(runtime).plan_run(model, runtime);
  return [model, runtime](const std::vector<std::string>& texts) {
    return open_engine(runtime).score_texts(model, texts, runtime);
  };
}

void print_result(const Json& result) {
  Table table(
      {{"filter"}, {"seen", Table::Align::kRight}, {"dropped", Table::Align::kRight}, {"by rule"}});
  for (const Json& filter : result["filters"]) {
    std::string rules;
    for (const auto& [rule, count] : filter["rules"].items())
      rules += fmt::format("{}{} {}", rules.empty() ? "" : ", ", rule, count.dump());
    table.add({filter["name"], filter["seen"].dump(), filter["dropped"].dump(), rules});
  }
  print_text(table.text() + fmt::format("{}: {} of {} rows, {} bad, {} in {:.1f} s\n",
                                        result["output"].get<std::string>(),
                                        result["rows_written"].dump(), result["rows_read"].dump(),
                                        result["bad_rows"].dump(), human_bytes(result["bytes"]),
                                        result["seconds"].get<double>()));
}

void print_plan(const Json& plan) {
  Table table({{"would curate"}, {""}});
  for (const Json& input : plan["inputs"])
    table.add({"input", fmt::format("{} ({})", input["path"].get<std::string>(),
                                    human_bytes(input["bytes"]))});
  for (const Json& filter : plan["filters"])
    table.add({"filter",
               fmt::format("{} {}", filter["name"].get<std::string>(), filter["settings"].dump())});
  table.add({"output", plan["output"]});
  print_text(table.text());
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<CurateArguments>();
  app.add_option("IN", a->inputs,
                 "JSON lines: messages, prompt and completion, text, or chosen and rejected")
      ->required();
  app.add_option("-o,--output", a->output,
                 "JSON lines with the rows that passed; lancet.json beside it")
      ->required();
  app.add_option("--filter", a->filters,
                 "NAME:key=value,...; may come again; rows meet them in this order (lancet list "
                 "filters --json)")
      ->allow_extra_args(false);
  app.add_option("--dedup", a->dedup,
                 "exact or minhash, with settings as for --filter; after the other filters");
  app.add_option("--decontaminate", a->decontaminate,
                 "Test sets whose items may not occur in a row")
      ->allow_extra_args(false);
  app.add_option("--student", a->student, "The model that the filter perplexity asks");
  app.add_option("--report", a->report,
                 "HTML with counts, and samples of what each filter dropped");
  app.add_option("--teacher", a->teachers,
                 "Model whose outputs the rows are: its licence goes into lancet.json")
      ->allow_extra_args(false);
  app.add_option("--teacher-licence", a->licences,
                 "Licence of the rows, where the table does not know their teacher or none is "
                 "named: recorded, and its duties checked")
      ->allow_extra_args(false);
  app.add_option("--name", a->name,
                 "Name of the model to be trained: checked against the licences");
  app.add_flag("--accept-terms-risk", a->accept_risk,
               "Go on where a teacher's terms forbid the use; recorded");
  app.add_flag("--strict", a->strict, "A row that cannot be read is an error, not a warning");
  return [a, &common] {
    CurateRequest request;
    request.inputs.assign(a->inputs.begin(), a->inputs.end());
    request.output = a->output;
    request.filters = ordered(*a);
    request.report = a->report;
    request.score = student_scores(a->student, common.runtime);
    request.student = a->student;
    request.teachers = a->teachers;
    request.licences = a->licences;
    request.model_name = a->name;
    request.accept_terms_risk = a->accept_risk;
    request.strict = a->strict;
    request.plan = common.plan;
    request.force = common.force;
    request.settings_only = common.settings_only;
    request.seed = common.runtime.seed;
    const Json result = open_factory().curate(request);
    if (common.settings_only) return 0;
    if (common.json) {
      print_json(result);
    } else {
      common.plan ? print_plan(result) : print_result(result);
    }
    return 0;
  };
}

}  // namespace

extern const Command command_curate{
    .name = "curate",
    .group = "Distillation",
    .summary =
        "Rows of training data through filters: duplicates, test sets, length, language, ...",
    .examples =
        "  lancet curate raw.jsonl -o clean.jsonl --dedup minhash --decontaminate gsm8k.jsonl "
        "--report report.html\n"
        "  lancet curate a.jsonl b.jsonl -o c.jsonl --filter validity --filter "
        "length:min_words=5,max_words=2000",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
