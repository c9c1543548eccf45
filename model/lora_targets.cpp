#include "model/lora_targets.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/adapter/patterns.h"
#include "model/names.h"

namespace lancet {
namespace {

constexpr std::int64_t kMaxRank = 4096;

[[noreturn]] void refuse(std::string message, std::string hint = {}) {
  fail(ErrorKind::kUsage, "lora", std::move(message), std::move(hint));
}

/// Runs a test of names; an expression that does not compile is the person's mistake.
template <class Test>
bool checked(const std::string& expression, const Test& test) {
  try {
    return test();
  } catch (const std::regex_error& error) {
    refuse(fmt::format("'{}' is no expression ({})", printable(expression), error.what()));
  }
}

bool begins_from_base(const LoraSettings& s) {
  return s.init == LoraInit::kPissa || s.init == LoraInit::kOlora;
}

void check_ranges(const DecoderSpec& spec, const LoraSettings& s) {
  const auto rank = [](std::int64_t r) {
    if (r < 1 || r > kMaxRank)
      refuse(fmt::format("expected a rank from 1 to {}, found {}", kMaxRank, r));
  };
  const auto alpha = [](double value) {
    if (!(value > 0) || !std::isfinite(value))
      refuse(fmt::format("expected an alpha above 0, found {}", value));
  };
  rank(s.rank);
  alpha(s.alpha);
  for (const auto& [key, value] : s.rank_pattern) rank(value);
  for (const auto& [key, value] : s.alpha_pattern) alpha(value);
  if (!(s.dropout >= 0 && s.dropout < 1))
    refuse(fmt::format("expected a dropout from 0 to below 1, found {}", s.dropout));
  for (const std::int64_t layer : s.layers) {
    if (layer < 0 || layer >= spec.layers)
      refuse(fmt::format("expected layers from 0 to {}, found {}", spec.layers - 1, layer));
  }
  if (s.dora && begins_from_base(s))
    refuse("expected DoRA or a decomposition of the base, found both");
  if (s.pissa_iterations < 0 || s.pissa_iterations > 1000)
    refuse(fmt::format("expected pissa_niter_ from 1 to 1000, found {}", s.pissa_iterations));
  if (s.targets.empty() || (s.expression && s.targets.size() != 1))
    refuse("expected target modules: names, one expression, or all-linear");
}

/// The head stands beside what the prefix names.
std::string peft_name(const std::string& prefix, const LinearModule& module) {
  return module.head ? module.name : prefix + module.name;
}

/// The modules that `target` means.
std::vector<bool> chosen_by(const std::string& target, bool expression,
                            const std::vector<LinearModule>& modules, const std::string& prefix) {
  std::vector<bool> out;
  for (const LinearModule& module : modules) {
    const std::string name = peft_name(prefix, module);
    const bool of_block = !module.expert && !module.embedding && !module.head;
    out.push_back(target == "all-linear" && !expression ? of_block
                  : expression ? checked(target, [&] { return matches_module(target, name); })
                               : names_module(target, name));
  }
  return out;
}

std::string last_name(const std::string& name) { return name.substr(name.rfind('.') + 1); }

[[noreturn]] void refuse_target(const std::string& target,
                                const std::vector<LinearModule>& modules) {
  const std::string name = last_name(target);
  std::set<std::string> names;
  for (const LinearModule& module : modules) names.insert(last_name(module.name));
  std::vector<std::string_view> known(names.begin(), names.end());
  const std::string guess = did_you_mean(name, known);
  refuse(fmt::format("expected layers of the model, found none that '{}' names", printable(target)),
         guess.empty() ? fmt::format("it has {}", fmt::join(known, ", ")) : guess);
}

/// The value of the first pattern that fits, else `fallback`; `used` counts.
template <class Value>
Value from_patterns(const std::vector<std::pair<std::string, Value>>& patterns,
                    const std::string& name, Value fallback, std::vector<bool>& used) {
  used.resize(patterns.size(), false);
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const std::string& key = patterns[i].first;
    if (!checked(key, [&] { return pattern_fits(key, name); })) continue;
    used[i] = true;
    return patterns[i].second;
  }
  return fallback;
}

template <class Value>
void check_used(const std::vector<std::pair<std::string, Value>>& patterns,
                const std::vector<bool>& used) {
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (!used[i])
      refuse(fmt::format("the pattern '{}' fits none of the target modules",
                         printable(patterns[i].first)));
  }
}

/// Short names where they mean exactly these modules, else whole ones.
std::set<std::string> written_targets(const DecoderSpec& spec,
                                      const std::vector<LoraTarget>& targets) {
  const std::string prefix = missing_prefix(spec);
  std::set<std::string> shorts, whole;
  for (const LoraTarget& each : targets) {
    shorts.insert(last_name(each.module.name));
    whole.insert(peft_name(prefix, each.module));
  }
  for (const LinearModule& module : adaptable_modules(spec)) {
    if (shorts.contains(last_name(module.name)) && !whole.contains(peft_name(prefix, module)))
      return whole;
  }
  return shorts;
}

template <class Value>
Json pattern_json(const std::vector<std::pair<std::string, Value>>& patterns) {
  Json out = Json::object();
  for (const auto& [key, value] : patterns) out[key] = value;
  return out;
}

Json init_json(const LoraSettings& settings) {
  switch (settings.init) {
    case LoraInit::kGaussian:
      return "gaussian";
    case LoraInit::kPissa:
      return settings.pissa_iterations == 0
                 ? "pissa"
                 : fmt::format("pissa_niter_{}", settings.pissa_iterations);
    case LoraInit::kOlora:
      return "olora";
    case LoraInit::kKaiming:
      break;
  }
  return true;
}

}  // namespace

std::vector<LinearModule> linear_modules(const DecoderSpec& spec) {
  const NameSpec& n = spec.names;
  std::vector<LinearModule> out;
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    std::set<std::string> plain, experts;
    // Not a state space's dt_proj: transformers multiplies by its weight past any adapter.
    for (const std::string* pattern : {&n.q,
                                       &n.k,
                                       &n.v,
                                       &n.qkv,
                                       &n.o,
                                       &n.q_a,
                                       &n.q_b,
                                       &n.kv_a,
                                       &n.kv_b,
                                       &n.mlp.gate,
                                       &n.mlp.up,
                                       &n.mlp.gate_up,
                                       &n.mlp.down,
                                       &n.ssm.in,
                                       &n.ssm.x,
                                       &n.ssm.out,
                                       &n.shared.gate,
                                       &n.shared.up,
                                       &n.shared.gate_up,
                                       &n.shared.down,
                                       &n.shared_gate}) {
      if (!pattern->empty()) plain.insert(layer_name(*pattern, layer));
    }
    for (const std::string* pattern : {&n.expert.gate, &n.expert.up, &n.expert.down}) {
      for (std::int64_t e = 0; !pattern->empty() && e < spec.moe.experts; ++e)
        experts.insert(layer_name(*pattern, layer, e));
    }
    for (const ExpectedTensor& tensor : block_tensors(spec, layer)) {
      if (!tensor.name.ends_with(".weight") || tensor.shape.size() != 2) continue;
      const std::string name = tensor.name.substr(0, tensor.name.size() - 7);
      const bool expert = experts.contains(name);
      if (!expert && !plain.contains(name)) continue;
      const MatrixLayout layout = spec.layout;
      const bool out_in = layout == MatrixLayout::kOutIn;
      out.push_back({name, layer, tensor.shape[out_in ? 1 : 0], tensor.shape[out_in ? 0 : 1],
                     layout, expert, false, false, tensor.name});
    }
  }
  return out;
}

std::vector<LinearModule> adaptable_modules(const DecoderSpec& spec) {
  const NameSpec& n = spec.names;
  const std::int64_t width = spec.d_embed == 0 ? spec.d_model : spec.d_embed;
  const std::string table = n.embed + ".weight";
  std::vector<LinearModule> out{
      {n.embed, -1, spec.vocab, width, MatrixLayout::kInOut, false, true, false, table}};
  for (LinearModule& module : linear_modules(spec)) out.push_back(std::move(module));
  out.push_back({n.head, -1, width, spec.vocab, MatrixLayout::kOutIn, false, false, true,
                 spec.tied_head ? table : n.head + ".weight"});
  return out;
}

std::string missing_prefix(const DecoderSpec& spec) {
  for (const Respelling& respelling : spec.respellings) {
    const auto& [prefix, short_form] = respelling.front();
    if (respelling.size() == 1 && short_form.empty() && !spec.names.embed.starts_with(prefix))
      return prefix;
  }
  return "";
}

std::vector<LoraTarget> lora_targets(const DecoderSpec& spec, const LoraSettings& settings) {
  check_ranges(spec, settings);
  const std::vector<LinearModule> modules = adaptable_modules(spec);
  const std::string prefix = missing_prefix(spec);
  std::vector<bool> chosen(modules.size(), false);
  for (const std::string& target : settings.targets) {
    const auto own = chosen_by(target, settings.expression, modules, prefix);
    if (std::ranges::find(own, true) == own.end()) refuse_target(target, modules);
    for (std::size_t i = 0; i < own.size(); ++i) chosen[i] = chosen[i] || own[i];
  }
  std::vector<LoraTarget> out;
  std::vector<bool> ranks_used(settings.rank_pattern.size());
  std::vector<bool> alphas_used(settings.alpha_pattern.size());
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const LinearModule& module = modules[i];
    const auto& layers = settings.layers;
    const bool other_layer = module.layer >= 0 && !layers.empty() &&
                             std::ranges::find(layers, module.layer) == layers.end();
    if (!chosen[i] || other_layer) continue;
    if (module.embedding && begins_from_base(settings))
      refuse(fmt::format("'{}': embeddings cannot begin as a decomposition of the base",
                         printable(module.name)),
             "kaiming or gaussian; or train the embeddings in an adapter of their own");
    const std::string name = peft_name(prefix, module);
    const std::int64_t rank = from_patterns(settings.rank_pattern, name, settings.rank, ranks_used);
    const double alpha = from_patterns(settings.alpha_pattern, name, settings.alpha, alphas_used);
    const auto r = static_cast<double>(rank);
    out.push_back({module, rank, alpha / (settings.rank_stabilised ? std::sqrt(r) : r)});
  }
  if (out.empty()) refuse("the target modules do not lie in the layers that were asked for");
  check_used(settings.rank_pattern, ranks_used);
  check_used(settings.alpha_pattern, alphas_used);
  return out;
}

Json lora_config(const DecoderSpec& spec, const LoraSettings& settings,
                 const std::vector<LoraTarget>& targets) {
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"r", settings.rank},
          {"lora_alpha", settings.alpha},
          {"lora_dropout", settings.dropout},
          {"bias", "none"},
          {"fan_in_fan_out", spec.layout == MatrixLayout::kInOut},
          {"inference_mode", true},
          {"init_lora_weights", init_json(settings)},
          {"use_rslora", settings.rank_stabilised},
          {"use_dora", settings.dora},
          {"target_modules", written_targets(spec, targets)},
          {"layers_to_transform", nullptr},
          {"rank_pattern", pattern_json(settings.rank_pattern)},
          {"alpha_pattern", pattern_json(settings.alpha_pattern)},
          {"modules_to_save", nullptr}};
}

}  // namespace lancet
