// lancet edit: rewrite facts in the weights, prove the edit, write the model (or only the delta).

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/help.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/table.h"
#include "core/text.h"
#include "surgery/files/facts.h"

namespace lancet {
namespace {

struct EditOptions {
  std::string model, subject, prompt, target, truth, requests;
  std::string out, delta, lora, report, dump;
  std::vector<std::string> method_options;
  EditRequest request;
  bool no_guards = false, sequential = false, last_wins = false;
};

/// As records are read: a blank before an answer is put there in any case.
std::string without_blank(std::string text) {
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

void read_facts_of(const EditOptions& o, EditRequest& r) {
  if (o.requests.empty()) {
    if (o.last_wins)
      fail(ErrorKind::kUsage, "edit", "--last-wins: expected --requests, found one fact");
    if (o.subject.empty() || o.prompt.empty()) {
      fail(ErrorKind::kUsage, "edit", "expected --subject, --prompt and --target, or --requests",
           "lancet edit MODEL --subject France --prompt 'The capital of {} is' --target Rome -o "
           "OUT");
    }
    Fact fact{
        .id = "1", .subject = o.subject, .prompt = o.prompt, .target = without_blank(o.target)};
    if (!o.truth.empty()) fact.truth = without_blank(o.truth);
    drop_end_blanks(fact);
    check_fact(fact);
    check_new_answer(fact);
    r.facts = {std::move(fact)};
    return;
  }
  for (const auto& [option, value] :
       {std::pair("--subject", &o.subject), std::pair("--prompt", &o.prompt),
        std::pair("--target", &o.target), std::pair("--true", &o.truth)}) {
    if (!value->empty())
      fail(ErrorKind::kUsage, "edit",
           fmt::format("expected --requests, or --subject, --prompt and --target, found "
                       "--requests and {}",
                       option));
  }
  FactsFile file = read_facts(o.requests);
  check_together(file, o.last_wins, o.requests);
  report_left_out(file, "edit", o.requests);
  r.requests = o.requests;
  r.left_out = left_out_json(file);
  r.facts = std::move(file.facts);
  r.lines = std::move(file.lines);
}

std::optional<fs::path> path_or_none(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<fs::path>(text);
}

EditRequest resolve(const EditOptions& o, const CommonOptions& common) {
  EditRequest r = o.request;
  r.model = o.model;
  read_facts_of(o, r);
  for (const auto& option : o.method_options) {
    const auto equals = option.find('=');
    if (equals == std::string::npos || equals == 0) {
      fail(ErrorKind::kUsage, "edit",
           "--method-option expects key=value, found '" + printable(option) + "'");
    }
    r.method_options[option.substr(0, equals)] = option.substr(equals + 1);
  }
  r.out = path_or_none(o.out);
  r.delta = path_or_none(o.delta);
  r.lora = path_or_none(o.lora);
  r.report = path_or_none(o.report);
  r.dump = path_or_none(o.dump);
  r.guards = !o.no_guards;
  r.plan = common.plan;
  r.force = common.force;
  r.command = command_json("edit", common);
  if (o.sequential) r.batch = 1;
  r.command["method"] = r.method.empty() ? "auto" : r.method;
  r.command["batch"] = r.batch;
  r.command["layers"] = r.layers;
  r.command["covariance"] = r.covariance;
  return r;
}

std::string quoted(const Json& value) {
  return value.is_string() ? printable(value.get<std::string>(), 60) : value.dump();
}

std::string plan_text(const Json& d) {
  Table table({{"would edit"}, {""}});
  table.add({"method", d["method"].get<std::string>()});
  table.add({"layers", fmt::format("{} ({})", numbers_text(d["layers"]),
                                   d["layer_reason"].get<std::string>())});
  for (const Json& edit : d["edits"]) {
    const Json& at = edit["subject_last"];
    std::string row = fmt::format("{} -> {}", quoted(edit["prompt"]), quoted(edit["target"]));
    if (at.is_number())
      row += fmt::format(", the subject ends with token {} '{}'", at.dump(),
                         printable(edit["tokens"][at.get<std::size_t>()].get<std::string>(), 30));
    table.add({"fact " + quoted(edit["id"]), row});
  }
  for (const Json& edit : d["edits"]) {
    const Json& other = edit["reversed"];
    if (!other.is_object()) continue;
    std::string prompt = other["prompt"];
    prompt.replace(prompt.find("{}"), 2, other["subject"].get<std::string>());
    table.add({"not written", fmt::format("{} -> {}: the other direction is a fact of its own",
                                          printable(prompt, 60), quoted(other["target"]))});
  }
  table.add({"memory", about_bytes(d["peak_memory"])});
  const double once = d["covariance_seconds"].get<double>();
  table.add({"time", about_seconds(d["seconds"]) +
                         (once > 0 ? fmt::format(", and about {:.0f} s more the first time, for "
                                                 "second moments that are then kept",
                                                 once)
                                   : "")});
  if (const auto bytes = d["bytes"].get<std::uint64_t>(); bytes > 0)
    table.add({"writes", human_bytes(bytes)});
  for (const Json& path : d["outputs"]) table.add({"output", path.get<std::string>()});
  return table.text();
}

/// What a guard measured, and of `limits` and the norms of layers each by its name.
std::string guard_text(const std::string& name, const Json& value) {
  if (!value.is_object())
    return fmt::format("{}: {}\n", name,
                       value.is_number_float() ? fmt::format("{:.4g}", value.get<double>())
                       : value.is_boolean()    ? (value.get<bool>() ? "yes" : "no")
                                               : value.dump());
  std::string list;
  for (const auto& [key, each] : value.items())
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", key,
                        each.is_number() ? fmt::format("{:.4g}", each.get<double>()) : each.dump());
  return fmt::format("{}: {}\n", name, list);
}

std::string result_text(const Json& d) {
  Table table({{"fact"}, {"ok"}, {"before"}, {"after"}, {"p(target)", Table::Align::kRight}});
  for (const auto& e : d.value("edits", Json::array())) {
    const Json before = e.value("before", Json::object()), after = e.value("after", Json::object());
    table.add({quoted(e.value("id", Json())), e.value("ok", false) ? "yes" : "NO",
               quoted(before.value("text", Json())), quoted(after.value("text", Json())),
               fmt::format("{:.3f} -> {:.3f}", before.value("p_target", 0.0),
                           after.value("p_target", 0.0))});
  }
  std::string out = table.text();
  const Json guards = d.value("guards", Json::object());
  for (const auto& [name, value] : guards.items()) out += guard_text(name, value);
  out += fmt::format("method {}, layers {}, {:.1f} s\n", quoted(d.value("method", Json())),
                     numbers_text(d.value("layers", Json::array())), d.value("seconds", 0.0));
  for (const auto& output : d.value("outputs", Json::array()))
    out += "wrote " +
           (output.is_string() ? output.get<std::string>() : output.value("path", std::string())) +
           "\n";
  return out;
}

int run(const EditOptions& o, const CommonOptions& common) {
  const EditRequest request = resolve(o, common);
  Json partial;
  try {
    const Json result = open_engine(common.runtime).edit(request, common.runtime, partial);
    common.json ? print_json(result)
                : print_text(request.plan ? plan_text(result) : result_text(result));
    return 0;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kGoal || partial.is_null()) throw;
    print_error(error);
    partial["error"] = error_json(error);
    common.json ? print_json(partial) : print_text(result_text(partial));
    throw Reported{error.exit_code()};
  }
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto o = std::make_shared<EditOptions>();
  app.add_option("MODEL", o->model, "Any readable model")->required();
  app.add_option("--subject", o->subject, "What the fact is about, as it stands in the prompt");
  app.add_option("--prompt", o->prompt, "The statement with {} for the subject, up to the answer");
  app.add_option("--target", o->target, "The new answer (a blank is put before it)");
  app.add_option("--true", o->truth, "The answer before, for the report");
  app.add_option("--requests", o->requests,
                 "Facts: JSON array or lines (ours, CounterFact, zsRE, EasyEdit, KnowEdit, MQuAKE, "
                 "RippleEdits)");
  app.add_flag("--last-wins", o->last_wins,
               "Of records that give one prompt different targets take the last");
  app.add_option("-o,--out", o->out, "Write the edited model");
  app.add_option("--delta", o->delta, "Write only the low-rank change (safetensors)");
  app.add_option("--lora", o->lora, "Write the change as a PEFT adapter");
  app.add_option("--method", o->request.method,
                 "Editor (default rome for one fact, memit for several); see lancet list editors");
  app.add_option("--layers", o->request.layers, "auto, 5 or 4-8 (default auto)");
  auto* batch = app.add_option("--batch", o->request.batch,
                               "Facts that editors of many write together, each batch on "
                               "the model that has the earlier ones (default all)")
                    ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  app.add_flag("--sequential", o->sequential, "One fact after another: --batch 1")->excludes(batch);
  app.add_option("--covariance", o->request.covariance,
                 "auto, none, or a file of second moments (default auto)");
  app.add_option("--report", o->report, "Write an HTML report");
  app.add_option("--dump", o->dump, "Write keys, values, losses and factors (safetensors)");
  app.add_flag("--no-guards", o->no_guards, "Write even when a guard or a probe says no");
  app.add_option("--max-leak", o->request.max_leak,
                 "Largest share of other subjects that may answer the target (default 0.1)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--max-perplexity-ratio", o->request.max_perplexity_ratio,
                 "Largest perplexity after / before (default 1.1)")
      ->check(CLI::Range(1.0, 1e6));
  app.add_option("--stop-at", o->request.stop_at,
                 "Batches end, and the last one is taken back, where perplexity after / before is "
                 "above this; what came before is written (default: no end)")
      ->check(CLI::Range(1.0, 1e6));
  app.add_flag("--restart", o->request.restart,
               "Throw away the batches that an interrupted edit left beside its output");
  app.add_option("--method-option", o->method_options,
                 "key=value of the method; may be given more than once")
      ->take_all();
  return [o, &common] { return run(*o, common); };
}

}  // namespace

extern const Command command_edit{
    .name = "edit",
    .group = "Surgery",
    .summary = "Rewrite facts in the weights, prove the edit, keep it undoable",
    .examples =
        "  lancet edit model/ --subject France --prompt 'The capital of {} is' --target Rome -o "
        "edited/\n"
        "  lancet edit model/ --requests facts.jsonl --delta facts.delta.safetensors --json",
    .runs_model = true,
    .dtype = "of the computation; the model is written as it is stored, --lora in float32",
    .declare = declare};

}  // namespace lancet
