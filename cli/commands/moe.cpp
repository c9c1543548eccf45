// lancet moe: dense models made the experts of one sparse mixture.

#include <CLI/CLI.hpp>
#include <chrono>

#include "cli/common_options.h"
#include "cli/engine.h"
#include "cli/output.h"
#include "core/log.h"
#include "formats/replaceable.h"
#include "merge/estimate.h"
#include "merge/moe_gates.h"

namespace lancet {
namespace {

struct MoeArguments {
  std::string recipe, out, shard_size = "5GB";
};

bool needs_states(const Moe& moe) {
  const GateMode gate = moe.recipe().gate;
  return gate == GateMode::kHidden || gate == GateMode::kHiddenAverage;
}

/// The base runs as it is stored: --dtype is that of the mixture.
RuntimeOptions runtime_of_gates(const CommonOptions& common) {
  RuntimeOptions runtime = common.runtime;
  runtime.dtype = "auto";
  return runtime;
}

/// Gates from prompts; those from hidden states run the base, which a plan does not.
void make_gates(Moe& moe, const CommonOptions& common) {
  const GateMode gate = moe.recipe().gate;
  if (gate == GateMode::kCheapEmbed) moe.set_gates(cheap_embed_gates(moe.recipe(), moe.base()));
  if (!needs_states(moe) || common.plan) return;
  const RuntimeOptions runtime = runtime_of_gates(common);
  Engine& engine = open_engine(runtime);
  moe.set_gates(hidden_gates(moe.recipe(), moe.layers(), moe.width(),
                             [&](const std::vector<std::string>& prompts, bool average) {
                               return engine.prompt_states(moe.base().path(), prompts, average,
                                                           runtime);
                             }));
}

std::vector<fs::path> paths_of(const MoeRecipe& recipe) {
  std::vector<fs::path> out{recipe.directory / recipe.base.text};
  for (const auto* list : {&recipe.experts, &recipe.shared}) {
    for (const MoeExpert& expert : *list) out.push_back(recipe.directory / expert.model.text);
  }
  return out;
}

/// Streams; gates from hidden states hold the base and LibTorch before.
std::uint64_t peak_memory(const Moe& moe, const CommonOptions& common) {
  constexpr std::uint64_t kStreaming = 64ULL << 20, kEngine = 160ULL << 20;
  if (!needs_states(moe)) return kStreaming;
  const RuntimeOptions runtime = runtime_of_gates(common);
  const Json plan = open_engine(runtime).plan_run(moe.base().path(), runtime);
  return plan["weights_memory"].get<std::uint64_t>() + kEngine;
}

int run(const MoeArguments& arguments, const CommonOptions& common) {
  MoeRecipe recipe = read_moe_recipe(arguments.recipe);
  if (common.runtime.dtype != "auto") recipe.dtype = parse_dtype(common.runtime.dtype);
  std::vector<fs::path> read = paths_of(recipe);
  read.emplace_back(arguments.recipe);
  check_place("moe", arguments.out, OutputKind::kModel, read, replaces(common.force, common.plan));
  Moe moe(std::move(recipe), common.runtime.seed);
  if (!common.plan) check_space(arguments.out, moe.bytes());
  make_gates(moe, common);
  for (const std::string& warning : moe.warnings()) log::warn(warning);
  const std::uint64_t bytes = moe.bytes();
  Json result{{"output", arguments.out},
              {"architecture", moe.family().architecture},
              {"tensors", moe.tensors()},
              {"bytes", bytes},
              {"warnings", moe.warnings()}};
  if (common.plan) {
    result["plan"] = true;
    result["peak_memory"] = peak_memory(moe, common);
    result["seconds"] = writing_seconds(arguments.out, bytes);
    common.json ? print_json(result)
                : print_text(fmt::format(
                      "would write {}: {} tensors, {}, to {}, peak memory {}, about {:.1f} s{}\n",
                      moe.family().architecture, moe.tensors(), human_bytes(bytes), arguments.out,
                      human_bytes(result["peak_memory"].get<std::uint64_t>()),
                      result["seconds"].get<double>(),
                      needs_states(moe) ? " and a run of the base over the prompts" : ""));
    return 0;
  }
  const auto start = std::chrono::steady_clock::now();
  WriteOptions write{.shard_size = parse_bytes(arguments.shard_size),
                     .force = common.force,
                     .manifest = command_json("moe", common)};
  write.manifest["recipe"] = moe.recipe_text();
  write.manifest["inputs"] = moe.identities();
  static_cast<void>(write_model(arguments.out, moe.take_tensors(), moe.side_files(), write));
  result["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  common.json ? print_json(result)
              : print_text(fmt::format("{}: {}, {} tensors, {} in {:.1f} s\n", arguments.out,
                                       moe.family().architecture, result["tensors"].dump(),
                                       human_bytes(bytes), result["seconds"].get<double>()));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto arguments = std::make_shared<MoeArguments>();
  app.add_option("RECIPE", arguments->recipe, "A recipe in the YAML of mergekit-moe")->required();
  app.add_option("OUT", arguments->out, "*.gguf, *.safetensors, else a Hugging Face directory")
      ->required();
  app.add_option("--shard-size", arguments->shard_size,
                 "Largest weight file of a directory (default 5GB)")
      ->check(size_validator());
  return [arguments, &common] { return run(*arguments, common); };
}

}  // namespace

extern const Command command_moe{
    .name = "moe",
    .group = "Merging",
    .summary = "Dense models made the experts of one mixture: Mixtral, Qwen2-MoE, Qwen3-MoE",
    .examples = "  lancet moe experts.yml mixture/\n  lancet moe experts.yml mixture/ --plan",
    .runs_model = true,
    .dtype = kWritten,
    .declare = declare};

}  // namespace lancet
