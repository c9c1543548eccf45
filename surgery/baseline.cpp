#include "surgery/baseline.h"

#include <algorithm>

#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/parallel.h"
#include "surgery/contexts.h"
#include "surgery/probe.h"

namespace lancet {
namespace {

constexpr std::int64_t kVersion = 1;  ///< of what is computed, and of the file

/// Hash over the names and the hashes of all weights, which are taken side by side.
std::string hash_all_weights(const Decoder& model) {
  const std::vector<std::string> names = model.weight_names();
  std::vector<std::string> hashes(names.size());
  parallel::for_each(names.size(), [&](std::size_t i) {
    const at::Tensor plain = model.weight(names[i]).detach().to(at::kCPU).contiguous();
    hashes[i] = sha256_hex(Bytes(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
  });
  Sha256 all;
  for (std::size_t i = 0; i < names.size(); ++i) all.update(names[i] + '|' + hashes[i] + '|');
  return all.hex();
}

bool is_texts(const Json& value) {
  return value.is_array() && std::ranges::all_of(value, [](const Json& text) {
           return text.is_string() &&
                  text.get_ref<const std::string&>().find("{}") != std::string::npos;
         });
}

/// Shape of a stored file: {identity, values: {contexts?: {key: [text]}, perplexity?: {key: x}}}.
bool is_sound(const Json& stored) {
  if (!stored.contains("identity") || !stored.contains("values")) return false;
  const Json& values = stored["values"];
  if (!values.is_object()) return false;
  return std::ranges::all_of(values.items(), [](const auto& kind) {
    const bool texts = kind.key() == "contexts";
    return kind.value().is_object() && std::ranges::all_of(kind.value(), [&](const Json& value) {
             return texts ? is_texts(value) : value.is_number() && value.template get<double>() > 0;
           });
  });
}

}  // namespace

Baseline::Baseline(const Decoder& model, const Tokenizer& tokenizer, const Json& config)
    : model_(model), tokenizer_(tokenizer), config_(config) {}

void Baseline::open() {
  identity_ = {{"weights_sha256", hash_all_weights(model_)},
               {"config_sha256", sha256_hex(dump_json(config_))},
               {"tokenizer_sha256", sha256_hex(dump_json(tokenizer_.json()))},
               {"text_sha256", sha256_file(shipped_perplexity_text())},
               {"dtype", model_.activation_name()},
               {"backend", fmt::format("{} {} {}", model_.options().device().str(), TORCH_VERSION,
                                       at::get_cpu_capability())},
               {"version", kVersion}};
  path_ = user_cache_dir() / "baseline" / (sha256_hex(dump_json(identity_)) + ".json");
  if (!fs::exists(path_)) return;
  try {
    const Json stored = read_json(path_);
    if (is_sound(stored) && stored["identity"] == identity_) values_ = stored["values"];
  } catch (const std::exception& error) {
    log::warn(
        fmt::format("the cached baseline {} is computed anew: {}", path_.string(), error.what()));
  }
}

const Json& Baseline::value(const char* kind, const std::string& key,
                            const std::function<Json()>& compute) {
  if (path_.empty()) open();
  Json& all = values_[kind];
  if (all.is_object() && all.contains(key)) return all[key];
  // What is fresh goes the way of what is stored, so that both are the same to the last byte.
  all[key] = parse_json(dump_json(compute()), "baseline");
  try {
    fs::create_directories(path_.parent_path());
    write_file(path_, dump_json({{"identity", identity_}, {"values", values_}}, 1));
  } catch (const std::exception& error) {
    log::warn(fmt::format("the baseline was not cached: {}", error.what()));
  }
  return all[key];
}

std::vector<std::string> Baseline::contexts(std::int64_t count, std::uint64_t seed) {
  return value("contexts", fmt::format("{} texts, seed {}", count, seed),
               [&] { return Json(sample_contexts(model_, tokenizer_, count, seed)); });
}

double Baseline::perplexity(std::int64_t tokens) {
  return value("perplexity", fmt::format("{} tokens", tokens),
               [&] { return Json(shipped_perplexity(model_, tokenizer_, tokens)); });
}

}  // namespace lancet
