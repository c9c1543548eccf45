// lancet adapter: PEFT LoRA adapters checked, folded in, extracted, combined.

#include <CLI/CLI.hpp>
#include <chrono>

#include "cli/common_options.h"
#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/log.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/adapter/overlay.h"
#include "formats/copy_memory.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"
#include "merge/adapter_combine.h"
#include "merge/adapter_extract.h"
#include "merge/estimate.h"

namespace lancet {
namespace {

struct AdapterArguments {
  std::string model, adapter, tuned, out, svd = "auto", method = "cat", inner, shard_size = "5GB";
  std::vector<std::string> adapters, settings;
  std::vector<double> weights;
  std::size_t rank = 0;
  double energy = 0;
  bool save_rest = false;
};

using Arguments = std::shared_ptr<AdapterArguments>;
using Body = std::function<int()>;

constexpr std::uint64_t kEngine = 150ULL << 20;  ///< program and LibTorch

std::uint64_t mapped_bytes(const ModelSource& source) {
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : source.checkpoint().tensors()) bytes += tensor.bytes;
  return bytes;
}

/// With what `document` tells of bytes, memory and time.
void print_plan(const Json& document, const std::string& what, const CommonOptions& common) {
  if (common.json) return print_json(document);
  print_text(fmt::format(
      "{}; {}memory {}, time {}\n", what,
      document["bytes"].is_null() ? "" : human_bytes(document["bytes"].get<std::uint64_t>()) + ", ",
      about_bytes(document["peak_memory"]), about_seconds(document["seconds"])));
}

// --- check ---

Json check(const AdapterArguments& a) {
  const ModelSource source = ModelSource::open(a.model, a.adapter);
  const AdapterOverlay& overlay = *source.overlay();
  overlay.adapter().check_lists();
  overlay.adapter().check_finite();
  Json modules = Json::array();
  for (const LoraModule& module : overlay.adapter().modules()) {
    modules.push_back({{"name", module.name},
                       {"tensor", overlay.landed().at(module.name)},
                       {"rank", module.rank},
                       {"scale", module.scale},
                       {"dora", module.magnitude != nullptr}});
  }
  Json saved = Json::array();
  for (const SavedTensor& each : overlay.adapter().saved()) saved.push_back(each.name);
  return {{"ok", true}, {"modules", modules}, {"saved", saved}};
}

void declare_check(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = app.add_subcommand("check", "Prove that every key lands on a tensor of MODEL");
  sub->add_option("MODEL", a->model, "Any readable model")->required();
  sub->add_option("ADAPTER", a->adapter, "A PEFT directory")->required();
  sub->footer(
      "Examples:\n"
      "  lancet adapter check model/ adapter/\n"
      "  lancet adapter check model.gguf adapter/ --json");
  sub->callback([a, &common, &body] {
    body = [a, &common] {
      const Json document = check(*a);
      if (common.json) {
        print_json(document);
        return 0;
      }
      Table table({{"module"}, {"rank"}, {"scale"}});
      for (const Json& each : document["modules"])
        table.add({each["name"], each["rank"].dump(), each["scale"].dump()});
      print_text(table.text());
      print_text(fmt::format("{}: ok, {} modules and {} whole tensors land on {}\n", a->adapter,
                             document["modules"].size(), document["saved"].size(), a->model));
      return 0;
    };
  });
}

// --- merge ---

int fold(const AdapterArguments& a, const CommonOptions& common) {
  check_place("adapter merge", a.out, OutputKind::kModel, {a.model, a.adapter},
              replaces(common.force, common.plan));
  const auto start = std::chrono::steady_clock::now();
  const ModelSource source = ModelSource::open(a.model, a.adapter);
  if (!common.plan) source.overlay()->adapter().check_finite();
  std::optional<DType> dtype;
  if (common.runtime.dtype != "auto") dtype = parse_dtype(common.runtime.dtype);
  std::vector<OutputTensor> tensors;
  for (const auto& tensor : source.tensors()) tensors.push_back(copy_tensor(source, tensor, dtype));
  const std::size_t changed = source.overlay()->landed().size();
  if (common.plan) {
    const std::uint64_t bytes = weight_bytes(tensors);
    const auto side_files = source.side_files();
    print_plan({{"plan", true},
                {"output", a.out},
                {"tensors", tensors.size()},
                {"changed", changed},
                {"bytes", bytes + beside_bytes(a.out, side_files)},
                {"peak_memory", copying_memory(a.out, bytes, side_files, true)},
                {"seconds", writing_seconds(a.out, bytes)}},
               fmt::format("would write {} tensors, {} of them changed, to {}", tensors.size(),
                           changed, a.out),
               common);
    return 0;
  }
  WriteOptions write{.shard_size = parse_bytes(a.shard_size),
                     .force = common.force,
                     .dtype = dtype,
                     .manifest = command_json("adapter merge", common)};
  write.manifest["inputs"] = Json::array({input_model(a.model), input_adapter(a.adapter)});
  std::uint64_t bytes = 0;
  for (const auto& file : write_model(a.out, std::move(tensors), source.side_files(), write))
    bytes += file.bytes;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  common.json
      ? print_json(
            {{"output", a.out}, {"changed", changed}, {"bytes", bytes}, {"seconds", seconds}})
      : print_text(fmt::format("{}: {} tensors changed, {}, {:.1f} s\n", a.out, changed,
                               human_bytes(bytes), seconds));
  return 0;
}

void declare_merge(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = app.add_subcommand("merge", "Fold an adapter into its model");
  sub->add_option("MODEL", a->model, "Any readable model")->required();
  sub->add_option("ADAPTER", a->adapter, "A PEFT directory")->required();
  sub->add_option("-o,--output", a->out, "*.gguf, *.safetensors, else a Hugging Face directory")
      ->required();
  sub->add_option("--shard-size", a->shard_size, "Largest weight file (default 5GB)")
      ->check(size_validator());
  sub->footer(
      "Examples:\n"
      "  lancet adapter merge model/ adapter/ -o folded/\n"
      "  lancet adapter merge model/ adapter/ -o folded.gguf --plan");
  sub->callback([a, &common, &body] { body = [a, &common] { return fold(*a, common); }; });
}

// --- extract ---

SvdMode svd_mode_of(const std::string& name) {
  return name == "exact"        ? SvdMode::kExact
         : name == "randomized" ? SvdMode::kRandomized
                                : SvdMode::kQuick;
}

/// Modules of which --rank holds less than --energy asks for.
void warn_of_missed_energy(const AdapterArguments& a, const Json& modules) {
  const auto missed = [&](const Json& m) { return m["energy"].get<double>() < a.energy; };
  const auto first = std::ranges::find_if(modules, missed);
  if (a.rank == 0 || first == modules.end()) return;
  log::warn(fmt::format(
      "{} of {} modules hold less than {} of their change at --rank {} ('{}' {:.4f})",
      std::ranges::count_if(modules, missed), modules.size(), a.energy, a.rank,
      printable((*first)["name"].get<std::string>()), (*first)["energy"].get<double>()));
}

int extract(const AdapterArguments& a, const CommonOptions& common) {
  check_place("adapter extract", a.out, OutputKind::kAdapter, {a.model, a.tuned},
              replaces(common.force, common.plan));
  const ModelSource base = ModelSource::open(a.model), tuned = ModelSource::open(a.tuned);
  if (common.plan) {
    // Both are mapped and read in whole; what they compress to is not known before.
    print_plan({{"plan", true},
                {"output", a.out},
                {"tensors", base.tensors().size()},
                {"bytes", nullptr},
                {"peak_memory", kEngine + mapped_bytes(base) + mapped_bytes(tuned)},
                {"seconds", nullptr}},
               fmt::format("would compare {} tensors and write {}", base.tensors().size(), a.out),
               common);
    return 0;
  }
  constexpr std::size_t kRank = 32, kAnyRank = 1 << 20;
  ExtractOptions options{.rank = a.rank > 0     ? a.rank
                                 : a.energy > 0 ? kAnyRank
                                                : kRank,
                         .svd = svd_mode_of(a.svd),
                         .save_rest = a.save_rest};
  if (common.runtime.dtype != "auto") options.dtype = parse_dtype(common.runtime.dtype);
  if (a.energy > 0) options.energy = a.energy;
  const Linalg& linalg = open_engine(common.runtime).linalg(common.runtime);
  Extracted result = extract_adapter(linalg, base, tuned, options);
  for (const Json& name : result.report["left_out"])
    log::warn(fmt::format("'{}' differs and is no linear layer: left out (--save-rest keeps it)",
                          printable(name.get<std::string>())));
  warn_of_missed_energy(a, result.report["modules"]);
  if (result.file.modules.empty())
    log::warn("no linear layer differs: lancet reads an adapter without factors, PEFT does not");
  result.file.manifest = command_json("adapter extract", common);
  result.file.manifest["inputs"] = Json::array({input_model(a.model), input_model(a.tuned)});
  save_adapter(a.out, std::move(result.file), common.force);
  result.report["output"] = a.out;
  result.report["svd_bound"] = linalg.worst_bound();
  if (common.json) {
    print_json(result.report);
    return 0;
  }
  Table table({{"module"}, {"rank"}, {"energy"}, {"|change|/|base|"}});
  for (const Json& each : result.report["modules"])
    table.add({each["name"], each["rank"].dump(),
               fmt::format("{:.4f}", each["energy"].get<double>()),
               fmt::format("{:.2e}", each["relative_norm"].get<double>())});
  print_text(table.text());
  print_text(fmt::format("{}: {} modules, {:.2f} % of the change\n", a.out,
                         result.report["modules"].size(),
                         100 * result.report["energy"].get<double>()));
  return 0;
}

void declare_extract(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = app.add_subcommand("extract", "TUNED - BASE as an adapter, by truncated SVD");
  sub->add_option("BASE", a->model, "The model that was tuned")->required();
  sub->add_option("TUNED", a->tuned, "What became of it")->required();
  sub->add_option("-o,--output", a->out, "The adapter's directory")->required();
  sub->add_option("--rank", a->rank, "Largest rank of a module (default 32, with --energy none)")
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option(
         "--energy", a->energy,
         "Least rank that holds this share of a module's change, within --rank (default none)")
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--svd", a->svd, "auto, exact or randomized (default auto)")
      ->check(CLI::IsMember({"auto", "exact", "randomized"}));
  sub->add_flag("--save-rest", a->save_rest,
                "Changed embeddings, heads, norms and biases whole (modules_to_save, bias)");
  sub->footer(
      "Examples:\n"
      "  lancet adapter extract base/ tuned/ --rank 16 -o tuned-lora/\n"
      "  lancet adapter extract base/ tuned/ --energy 0.99 --save-rest -o tuned-lora/");
  sub->callback([a, &common, &body] { body = [a, &common] { return extract(*a, common); }; });
}

// --- combine ---

std::vector<std::pair<std::string, double>> settings_of(const AdapterArguments& a,
                                                        const Method& inner) {
  std::vector<std::pair<std::string, double>> out;
  for (const std::string& setting : a.settings) {
    const std::size_t equals = setting.find('=');
    const std::string name = setting.substr(0, equals);
    const MergeParameter* parameter = find_parameter(inner, name);
    char* end = nullptr;
    const std::string text = equals == std::string::npos ? "" : setting.substr(equals + 1);
    const double value = text == "true" ? 1 : text == "false" ? 0 : std::strtod(text.c_str(), &end);
    const bool number = !text.empty() && (end == nullptr || *end == '\0');
    if (parameter == nullptr || !number || !(value >= parameter->minimum) ||
        !(value <= parameter->maximum)) {
      std::vector<std::string_view> known;
      for (const MergeParameter& each : inner.parameters) known.push_back(each.name);
      fail(ErrorKind::kUsage, "adapter combine",
           fmt::format("--set: expected a parameter of {} in its range, found '{}'", inner.name,
                       printable(setting)),
           equals == std::string::npos ? "--set takes one name=value; say it again for another"
           : parameter == nullptr
               ? did_you_mean(name, known)
               : fmt::format("{} in [{}, {}]", name, parameter->minimum, parameter->maximum));
    }
    out.emplace_back(name, value);
  }
  return out;
}

CombineOptions combine_options(const AdapterArguments& a, const CommonOptions& common) {
  CombineOptions options{.method = a.method, .weights = a.weights, .rank = a.rank};
  options.seed = common.runtime.seed;
  if (!takes_inner(a.method) && (!a.inner.empty() || !a.settings.empty()))
    fail(ErrorKind::kUsage, "adapter combine",
         fmt::format("{}: {} merges by no inner method", a.inner.empty() ? "--set" : "--inner",
                     a.method),
         "--method factors, core_space and knots take one");
  options.inner = find_merge_method(a.inner.empty() ? "task_arithmetic" : a.inner);
  if (options.inner == nullptr || options.inner->base != BaseUse::kRequired)
    fail(ErrorKind::kUsage, "adapter combine",
         fmt::format("--inner: expected a method that merges differences, found '{}'",
                     printable(a.inner)),
         "task_arithmetic, ties, dare_ties, magmax, ...: lancet list methods");
  options.settings = settings_of(a, *options.inner);
  if (options.weights.empty()) options.weights.assign(a.adapters.size(), 1.0);
  check_combine(options, a.adapters.size());
  return options;
}

int combine(const AdapterArguments& a, const CommonOptions& common) {
  check_place("adapter combine", a.out, OutputKind::kAdapter,
              {a.adapters.begin(), a.adapters.end()}, replaces(common.force, common.plan));
  const CombineOptions options = combine_options(a, common);
  std::vector<std::shared_ptr<const Adapter>> adapters;
  Json inputs = Json::array();
  for (const std::string& path : a.adapters) {
    adapters.push_back(Adapter::open(path));
    if (!common.plan) inputs.push_back(input_adapter(path));
  }
  if (common.plan) {
    print_plan({{"plan", true},
                {"output", a.out},
                {"adapters", a.adapters},
                {"bytes", nullptr},
                {"peak_memory", nullptr},
                {"seconds", nullptr}},
               fmt::format("would combine {} adapters to {}", a.adapters.size(), a.out), common);
    return 0;
  }
  const Linalg* linalg =
      needs_linalg(options) ? &open_engine(common.runtime).linalg(common.runtime) : nullptr;
  Combined result = combine_adapters(linalg, adapters, options);
  for (const Json& warning : result.report["warnings"]) log::warn(warning.get<std::string>());
  if (common.runtime.dtype != "auto") result.file.dtype = parse_dtype(common.runtime.dtype);
  result.file.manifest = command_json("adapter combine", common);
  result.file.manifest["method"] = options.method;
  result.file.manifest["inputs"] = std::move(inputs);
  save_adapter(a.out, std::move(result.file), common.force);
  result.report["output"] = a.out;
  common.json
      ? print_json(result.report)
      : print_text(fmt::format("{}: {} modules of {} adapters by {}\n", a.out,
                               result.report["modules"].size(), adapters.size(), options.method));
  return 0;
}

void declare_combine(CLI::App& app, const Arguments& a, const CommonOptions& common, Body& body) {
  CLI::App* sub = app.add_subcommand("combine", "Adapters merged into one adapter");
  sub->add_option("ADAPTER", a->adapters, "PEFT directories")->required();
  sub->add_option("-o,--output", a->out, "The result's directory")->required();
  std::vector<std::string> methods(std::begin(kCombineMethods), std::end(kCombineMethods));
  sub->add_option("--method", a->method, "cat (default), linear, svd, factors, core_space or knots")
      ->check(CLI::IsMember(methods));
  sub->add_option("--weights", a->weights, "One for each adapter (default 1)")->delimiter(',');
  sub->add_option("--rank", a->rank,
                  "Largest rank of the result (default that of the method; svd needs one)")
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--inner", a->inner,
                  "What factors, core_space and knots merge with (default task_arithmetic)");
  sub->add_option("--set", a->settings, "name=value of the inner method; again for another")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  sub->footer(
      "Examples:\n"
      "  lancet adapter combine a/ b/ --weights 0.7,0.3 -o sum/\n"
      "  lancet adapter combine a/ b/ --method core_space --inner ties --set density=0.5 -o c/");
  sub->callback([a, &common, &body] { body = [a, &common] { return combine(*a, common); }; });
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  const auto arguments = std::make_shared<AdapterArguments>();
  const auto body = std::make_shared<Body>();
  app.require_subcommand(1);
  declare_check(app, arguments, common, *body);
  declare_merge(app, arguments, common, *body);
  declare_extract(app, arguments, common, *body);
  declare_combine(app, arguments, common, *body);
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) sub->fallthrough();
  return [body] { return (*body)(); };
}

}  // namespace

extern const Command command_adapter{
    .name = "adapter",
    .group = "Checkpoints",
    .summary = "PEFT adapters: check, merge into a model, extract from two models, combine",
    .examples =
        "  lancet adapter merge model/ adapter/ -o folded/\n"
        "  lancet adapter extract base/ tuned/ --rank 16 -o tuned-lora/",
    .dtype = "of the model that merge writes",
    .declare = declare};

}  // namespace lancet
