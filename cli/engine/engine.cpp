// What every command shares, and the symbol by which the executable finds the engine.

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cmath>

#include "cli/engine/engine_impl.h"
#include "core/error.h"
#include "core/parallel.h"
#include "distill/losses/loss.h"
#include "model/architecture.h"
#include "model/kernels/gemm.h"
#include "model/load_options.h"
#include "model/runtime.h"
#include "surgery/editor.h"

namespace lancet {
namespace {

Json describe_architectures() {
  Json out = Json::array();
  for (const Architecture* each : architecture_registry()) {
    out.push_back({{"name", each->name}, {"title", each->title}, {"paper", each->paper}});
  }
  return out;
}

Json describe_parameters(const Editor& editor) {
  Json out = Json::array();
  for (const Parameter& each : editor.numbers) {
    Json entry{{"name", each.name}, {"type", each.integer ? "integer" : "number"}};
    if (std::isnan(each.fallback)) {
      entry["default"] = "auto";
    } else if (each.integer) {
      entry["default"] = static_cast<std::int64_t>(each.fallback);
    } else {
      entry["default"] = each.fallback;
    }
    entry["minimum"] = each.minimum;
    entry["maximum"] = each.maximum;
    entry["help"] = each.help;
    out.push_back(std::move(entry));
  }
  for (const WordParameter& each : editor.words) {
    Json entry{{"name", each.name}, {"type", "word"}, {"default", each.fallback}};
    if (!each.choices.empty()) entry["choices"] = each.choices;
    entry["help"] = each.help;
    out.push_back(std::move(entry));
  }
  return out;
}

Json describe_editors() {
  Json out = Json::array();
  for (const Editor* each : editor_registry()) {
    out.push_back({{"name", each->name},
                   {"title", each->title},
                   {"paper", each->paper},
                   {"max_facts", each->max_facts},
                   {"layers", each->reach == Reach::kOne     ? "one"
                              : each->reach == Reach::kRange ? "range"
                              : each->reach == Reach::kLate  ? "late"
                                                             : "all"},
                   {"batches", each->batches},
                   {"covariance", each->covariance},
                   {"parameters", describe_parameters(*each)}});
  }
  return out;
}

/// Losses, with the options that a run may set.
Json describe_losses() {
  Json out = Json::array();
  for (const Loss* loss : loss_registry()) {
    const Json fallbacks = loss_options(loss->name).json();
    Json parameters = Json::array();
    for (const LossParameter& each : loss->parameters) {
      Json entry{{"name", each.name}, {"default", fallbacks[std::string(each.name)]}};
      if (each.kind == LossParameter::Kind::kWord) {
        entry["choices"] = each.choices;
      } else if (each.kind != LossParameter::Kind::kFlag) {
        entry["minimum"] = each.minimum;
        entry["maximum"] = each.maximum;
      }
      entry["help"] = each.help;
      parameters.push_back(std::move(entry));
    }
    out.push_back({{"name", loss->name},
                   {"title", loss->title},
                   {"paper", loss->paper},
                   {"parameters", parameters}});
  }
  return out;
}

/// eos_token_id: a number, a list of numbers, null or absent.
void add_ids(const Json& config, std::vector<std::int32_t>& ids) {
  const auto at = config.is_object() ? config.find("eos_token_id") : config.end();
  if (at == config.end()) return;
  for (const Json& value : at->is_array() ? *at : Json::array({*at})) {
    if (!value.is_number_integer()) continue;
    const auto id = value.get<std::int64_t>();
    if (id < 0 || id > INT32_MAX || std::ranges::find(ids, id) != ids.end()) continue;
    ids.push_back(static_cast<std::int32_t>(id));
  }
}

}  // namespace

void prepare_runtime(const RuntimeOptions& runtime) {
  parallel::set_threads(runtime.threads);
  init_runtime();
}

LoadedModel load_model(const fs::path& model, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  const LoadOptions options = load_options(runtime);
  ModelSource source = ModelSource::open(model);
  Tokenizer tokenizer = Tokenizer::open(source);
  Decoder decoder = Decoder::load(source, options);
  return {std::move(source), std::move(decoder), std::move(tokenizer)};
}

std::vector<std::int32_t> end_ids(const ModelSource& source, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  const auto files = source.side_files();
  if (const auto at = files.find("generation_config.json"); at != files.end()) {
    add_ids(parse_json(at->second, "generation_config.json"), ids);
  }
  if (ids.empty()) add_ids(source.config(), ids);
  if (const auto eos = tokenizer.eos(); ids.empty() && eos) ids.push_back(*eos);
  return ids;
}

Json EngineImpl::about() {
  return {{"libtorch", TORCH_VERSION},
          {"cuda", at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0},
          {"cpu", kernels::isa_name(kernels::best_isa())},
          {"threads", parallel::threads()},
          {"parallel", at::get_parallel_info()}};
}

Json EngineImpl::list(const std::string& what) {
  if (what == "architectures") return describe_architectures();
  if (what == "editors") return describe_editors();
  if (what == "losses") return describe_losses();
  fail(ErrorKind::kUsage, "list",
       "expected architectures, editors or losses, found '" + what + "'");
}

}  // namespace lancet

extern "C" lancet::Engine* lancet_engine_instance() {
  static lancet::EngineImpl engine;
  return &engine;
}
