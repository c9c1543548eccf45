// lancet merge: a recipe of mergekit's, or a method and models, to a merged model.

#include <CLI/CLI.hpp>

#include "cli/common_options.h"
#include "cli/engine.h"
#include "cli/option_text.h"
#include "cli/output.h"
#include "core/log.h"
#include "core/outputs.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/replaceable.h"
#include "merge/run.h"
#include "merge/statistics.h"

namespace lancet {
namespace {

struct MergeArguments {
  std::string first, second;  ///< RECIPE OUT, or OUT alone with --method
  std::string method, base, semantics = "fixed", shard_size = "5GB", part, report;
  std::vector<std::string> models, settings;
  bool check = false, restart = false, join = false, hash_inputs = false, crimes = false;
};

Semantics parse_semantics(const std::string& name) {
  if (name == "mergekit") return Semantics::kMergekit;
  return name == "paper" ? Semantics::kPaper : Semantics::kFixed;
}

std::string quoted(const std::string& text) { return dump_json(Json(text)); }

/// "weight=0.6,0.4" -> "weight", ["0.6", "0.4"].
std::pair<std::string, std::vector<std::string>> split_setting(const std::string& setting) {
  const std::size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == setting.size()) {
    fail(ErrorKind::kUsage, "merge",
         fmt::format("--set: expected name=value, found '{}'", printable(setting)));
  }
  std::vector<std::string> values(1);
  for (const char c : setting.substr(equals + 1)) {
    if (c == ',') {
      values.emplace_back();
    } else {
      values.back() += c;
    }
  }
  return {setting.substr(0, equals), values};
}

/// The YAML that says what the options say.
std::string recipe_text(const MergeArguments& arguments) {
  std::string text = fmt::format("merge_method: {}\n", quoted(arguments.method));
  const Method* method = find_merge_method(arguments.method);
  const bool first_is_base =
      arguments.base.empty() && method != nullptr && method->base == BaseUse::kRequired;
  const std::string base =
      first_is_base && !arguments.models.empty() ? arguments.models[0] : arguments.base;
  if (!base.empty()) text += fmt::format("base_model: {}\n", quoted(base));
  std::map<std::string, std::vector<std::string>> per_model;
  text += "parameters:\n  {";
  for (const std::string& setting : arguments.settings) {
    const auto [name, values] = split_setting(setting);
    if (values.size() > 1) {
      if (values.size() != arguments.models.size()) {
        fail(ErrorKind::kUsage, "merge",
             fmt::format("--set {}: expected one value, or one for each of the {} models, found {}",
                         printable(setting), arguments.models.size(), values.size()));
      }
      per_model[name] = values;
    } else {
      text += fmt::format("{}: {}, ", quoted(name), values[0]);
    }
  }
  text += "}\nmodels:\n";
  for (std::size_t i = 0; i < arguments.models.size(); ++i) {
    text += fmt::format("  - model: {}\n", quoted(arguments.models[i]));
    if (!per_model.empty()) text += "    parameters: {";
    for (const auto& [name, values] : per_model)
      text += fmt::format("{}: {}, ", quoted(name), values[i]);
    if (!per_model.empty()) text += "}\n";
  }
  return text;
}

/// What says a key of recipe_text().
std::string option_of(std::string_view key) {
  return key == "merge_method" ? "--method"
         : key == "base_model" ? "--base"
         : key == "model"      ? "--models"
                               : "--set";
}

/// Options that the rest of the line leaves without an effect.
void check_used(const MergeArguments& arguments) {
  const auto refuse = [](const std::string& message, std::string hint) {
    fail(ErrorKind::kUsage, "merge", message, std::move(hint));
  };
  if (arguments.method.empty()) {
    const std::pair<const char*, bool> given[] = {{"--set", !arguments.settings.empty()},
                                                  {"--models", !arguments.models.empty()},
                                                  {"--base", !arguments.base.empty()}};
    for (const auto& [option, is_given] : given) {
      if (is_given)
        refuse(fmt::format("{}: expected --method with it, found none", option),
               "a recipe says its models and parameters itself");
    }
  }
  if (arguments.join && !arguments.part.empty())
    refuse("expected one of --part and --join, found both",
           "--part k/n for each part, then --join alone");
  const Method* method = find_merge_method(arguments.method);
  const bool merged = std::ranges::find(arguments.models, arguments.base) != arguments.models.end();
  if (method != nullptr && method->base == BaseUse::kNone && !arguments.base.empty() && !merged)
    refuse(fmt::format("--base: {} merges no base, and '{}' is none of its --models",
                       arguments.method, printable(arguments.base)),
           "leave it out; in a recipe base_model also says whose configuration and tokenizer the "
           "result has");
}

/// `--method karcher --models A B OUT`: the option has taken OUT for a model.
void settle(MergeArguments& arguments) {
  if (arguments.method.empty() && arguments.first.empty()) {
    fail(ErrorKind::kUsage, "merge", "expected RECIPE, found none", "lancet merge RECIPE.yml OUT");
  }
  if (arguments.method.empty() || !arguments.first.empty() || arguments.models.size() < 2 ||
      arguments.check)
    return;
  arguments.first = arguments.models.back();
  arguments.models.pop_back();
}

RecipeFile recipe_of(const MergeArguments& arguments) {
  if (arguments.method.empty()) return read_recipe(arguments.first);
  if (arguments.models.empty())
    fail(ErrorKind::kUsage, "merge", "--method: expected --models A B ..., found none");
  return parse_recipe(recipe_text(arguments), "options", fs::current_path());
}

fs::path out_of(const MergeArguments& arguments) {
  const std::string& out = arguments.method.empty() ? arguments.second : arguments.first;
  if (!arguments.method.empty() && !arguments.second.empty()) {
    fail(ErrorKind::kUsage, "merge",
         fmt::format("expected OUT alone beside --method, found '{}' and '{}'",
                     printable(arguments.first), printable(arguments.second)),
         arguments.first.find('=') == std::string::npos
             ? ""
             : "--set takes one name=value: --set a=1 --set b=2");
  }
  if (out.empty() && !arguments.check)
    fail(ErrorKind::kUsage, "merge", "expected OUT, found none", "lancet merge RECIPE.yml OUT");
  return out;
}

/// "2/4" -> 2 of 4.
void set_part(const std::string& text, RunOptions& run) {
  if (text.empty()) return;
  unsigned part = 0, parts = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%u/%u%c", &part, &parts, &rest) != 2 || part < 1 || part > parts ||
      parts > 10000) {
    fail(ErrorKind::kUsage, "merge",
         fmt::format("--part: expected k/n with 1 <= k <= n, found '{}'", printable(text)));
  }
  run.part = part;
  run.parts = parts;
}

void print_plan(const Json& plan) {
  Table table({{"would merge"}, {""}});
  table.add({"method", plan["method"]});
  for (const Json& model : plan["models"]) table.add({"model", model.get<std::string>()});
  table.add({"output", plan["output"]});
  table.add({"tensors", plan["tensors"].dump()});
  table.add({"reads", human_bytes(plan["bytes_read"])});
  table.add({"writes", fmt::format("{} in {} files", human_bytes(plan["bytes_written"]),
                                   plan["shards"].dump())});
  table.add({"memory", human_bytes(plan["peak_memory"])});
  table.add({"time", plan["seconds"].is_null()
                         ? "unknown"
                         : fmt::format("about {:.1f} s", plan["seconds"].get<double>())});
  print_text(table.text());
}

/// What the merge itself does not ask of OUT: it is not the recipe; and the report's place.
void check_places(const MergeArguments& arguments, const MergePlan& plan, const fs::path& out,
                  const CommonOptions& common) {
  std::vector<fs::path> read;
  if (arguments.method.empty()) read.emplace_back(arguments.first);
  check_not_input("merge", out, read);
  if (arguments.report.empty()) return;
  const std::vector<fs::path> files = files_read(plan);
  read.insert(read.end(), files.begin(), files.end());
  check_place("merge", arguments.report, OutputKind::kFile, read,
              replaces(common.force, common.plan || arguments.check));
  check_apart("merge", {{"OUT", out}, {"--report", arguments.report}});
}

int run(const MergeArguments& arguments, const CommonOptions& common) {
  const fs::path out = out_of(arguments);
  if (!arguments.report.empty() && !arguments.part.empty()) {
    fail(ErrorKind::kUsage, "merge", "expected --report without --part: a part is no whole model",
         "give --report with --join");
  }
  const RecipeFile recipe = recipe_of(arguments);
  MergeOptions options{.semantics = parse_semantics(arguments.semantics),
                       .seed = common.runtime.seed};
  options.allow_crimes = arguments.crimes;
  if (common.runtime.dtype != "auto") options.dtype = parse_dtype(common.runtime.dtype);
  const bool writes = !arguments.check && !common.plan;
  const bool spectral = needs_linalg(recipe);
  if (spectral && writes) options.linalg = &open_engine(common.runtime).linalg(common.runtime);
  const auto plan = plan_merge(recipe, options);
  check_places(arguments, *plan, out, common);
  RunOptions run{.shard_size = parse_bytes(arguments.shard_size),
                 .force = common.force,
                 .restart = arguments.restart,
                 .join = arguments.join,
                 .hash_inputs = arguments.hash_inputs};
  run.memory = parse_bytes(common.memory);
  run.command = command_json("merge", common);
  set_part(arguments.part, run);
  check_bound(*plan, {run.memory});
  if (!writes) {
    const Json document = describe_merge(*plan, out, run, common.plan);
    if (!common.json) {
      for (const Json& warning : document["warnings"]) log::warn(warning.get<std::string>());
    }
    if (common.json) print_json(document);
    if (!common.json && arguments.check)
      print_text(fmt::format("{}: ok, {} tensors\n", recipe.source, plan->tensors.size()));
    if (!common.json && !arguments.check) print_plan(document);
    return 0;
  }
  Json result = run_merge(recipe, *plan, out, run);
  if (spectral) result["svd_bound"] = options.linalg->worst_bound();
  if (!arguments.report.empty()) {
    const auto origins = trace_origins(*plan, ModelSource::open(out));
    write_file(arguments.report, origins_page(recipe, *plan, origins));
    result["statistics"] = origins_json(*plan, origins);
  }
  common.json ? print_json(result)
              : print_text(fmt::format(
                    "{}: {} tensors, {} in {:.1f} s, {} memory\n", out.string(),
                    result["tensors"].dump(), human_bytes(result["bytes_written"]),
                    result["seconds"].get<double>(), human_bytes(result["peak_memory"])));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<MergeArguments>();
  app.add_option("RECIPE", a->first, "A recipe in mergekit's YAML (with --method: OUT)");
  app.add_option("OUT", a->second, "*.gguf, *.safetensors, else a Hugging Face directory");
  app.add_option("--method", a->method, "Merge without a recipe; see lancet list methods");
  app.add_option("--models", a->models, "With --method: the models");
  app.add_option("--base", a->base,
                 "With --method: the base (default: the first model, where one is needed); of a "
                 "method without a base one of --models");
  app.add_option("--set", a->settings,
                 "With --method: name=value, or name=a,b,... with one value a model; again for "
                 "another parameter")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--semantics", a->semantics,
                 "fixed, mergekit (with its bugs) or paper (default fixed)")
      ->check(CLI::IsMember({"fixed", "mergekit", "paper"}));
  app.add_flag("--check", a->check,
               "Validate recipe and model headers, read no weights, write nothing");
  app.add_option("--shard-size", a->shard_size, "Largest weight file of a directory (default 5GB)")
      ->check(size_validator());
  app.add_option("--part", a->part,
                 "k/n: only the k-th of n parts of the shards, e.g. in a job array");
  app.add_flag("--join", a->join, "Put finished parts together; compute nothing");
  app.add_option("--report", a->report,
                 "Draw who gave what into this HTML file; with --json also per-tensor statistics "
                 "(reads inputs and result once more)");
  app.add_flag("--restart", a->restart, "Throw away what an interrupted merge into OUT left");
  app.add_flag("--hash-inputs", a->hash_inputs,
               "Record the SHA-256 of every input file in lancet.json: reads the inputs once more");
  app.add_flag("--allow-crimes", a->crimes,
               "Merge different architectures whose tensors happen to fit");
  return [a, &common] {
    settle(*a);
    check_used(*a);
    try {
      return run(*a, common);
    } catch (const Error& error) {
      if (a->method.empty()) throw;
      throw of_options(error, recipe_text(*a), option_of);
    }
  };
}

}  // namespace

extern const Command command_merge{
    .name = "merge",
    .group = "Merging",
    .summary = "Models in, model out: mergekit's recipes, streamed in bounded memory, resumable",
    .examples =
        "  lancet merge recipe.yml merged/\n"
        "  lancet merge --method slerp --models a/ b/ --set t=0.5 merged/",
    .dtype = kWritten,
    .memory = "Bound on working memory (default 1GiB)",
    .declare = declare};

}  // namespace lancet
