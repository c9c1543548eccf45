#include "model/lora.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "model/intraop.h"
#include "model/lora_targets.h"

namespace lancet {
namespace {

constexpr std::int64_t kGrain = 16384;  ///< elements of one parallel chunk

std::span<float> values_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Of embeddings A begins at zero and B is normal (PEFT's, as torch's own embeddings begin).
at::Tensor first_a(const LinearModule& module, std::int64_t rank, LoraInit init,
                   std::uint64_t seed) {
  if (module.embedding) return at::zeros({rank, module.d_in}, at::kFloat);
  at::Tensor a = at::empty({rank, module.d_in}, at::kFloat);
  const Random random(seed, "lora_A " + module.name);
  const std::span<float> values = values_of(a);
  const bool uniform = init == LoraInit::kKaiming;
  uniform ? random.fill_uniform(0, values) : random.fill_normal(0, values);
  const double bound = 1 / std::sqrt(static_cast<double>(module.d_in));
  const auto scale = static_cast<float>(uniform ? 2 * bound : 1 / static_cast<double>(rank));
  const auto shift = static_cast<float>(uniform ? -bound : 0);
  for (float& value : values) value = value * scale + shift;
  return a;
}

at::Tensor first_b(const LinearModule& module, std::int64_t rank, std::uint64_t seed) {
  at::Tensor b = at::zeros({module.d_out, rank}, at::kFloat);
  if (module.embedding) Random(seed, "lora_B " + module.name).fill_normal(0, values_of(b));
  return b;
}

at::Tensor stored_matrix(const Adapter& adapter, const TensorInfo& info) {
  const std::vector<float> values = adapter.values(info);
  at::Tensor out = at::empty(info.shape, at::kFloat);
  std::ranges::copy(values, out.mutable_data_ptr<float>());
  return out;
}

[[noreturn]] void refuse(const Adapter& adapter, const std::string& message,
                         std::string hint = {}) {
  fail(ErrorKind::kMismatch, "lora",
       fmt::format("{}: {}", printable(adapter.path().string(), 400), message), std::move(hint));
}

void check_continuable(const Adapter& adapter) {
  const char* const fold = "MODEL+ADAPTER folds the adapter into the base and trains a new one";
  for (const SavedTensor& saved : adapter.saved()) {
    if (saved.of_base) continue;
    refuse(
        adapter,
        "expected low-rank factors alone, found the whole tensor '" + printable(saved.name) + "'",
        fold);
  }
  if (json_bool(adapter.config(), "ensure_weight_tying", "adapter_config.json", false))
    refuse(adapter, "expected factors of their own, found some that are tied (ensure_weight_tying)",
           fold);
}

}  // namespace

at::Tensor dropout_mask(const LowRank& part, std::int64_t rows) {
  at::Tensor mask = at::empty({rows, part.a.size(1)}, at::kFloat);
  auto* to = mask.mutable_data_ptr<float>();
  const Random random(part.seed, "dropout " + part.module,
                      static_cast<std::uint32_t>(part.state->draw));
  const auto p = static_cast<float>(part.dropout);
  const auto kept = static_cast<float>(1 / (1 - part.dropout));
  const std::int64_t before = part.first_row * part.a.size(1);
  intraop_chunks(mask.numel(), kGrain, [&, to](std::int64_t begin, std::int64_t end) {
    const std::span<float> values(to + begin, static_cast<std::size_t>(end - begin));
    random.fill_uniform(static_cast<std::uint64_t>(before + begin), values);
    for (float& value : values) value = value < p ? 0.0F : kept;
  });
  return mask;
}

LoraAdapter::LoraAdapter(const DecoderSpec& spec, const LoraSettings& settings, std::uint64_t seed)
    : prefix_(missing_prefix(spec)),
      dropout_(settings.dropout),
      seed_(seed),
      init_(settings.init),
      pissa_iterations_(settings.pissa_iterations) {
  const std::vector<LoraTarget> targets = lora_targets(spec, settings);
  for (const LoraTarget& each : targets) {
    add(each.module, first_a(each.module, each.rank, settings.init, seed),
        first_b(each.module, each.rank, seed), each.scale,
        settings.dora ? at::ones({each.module.d_out}, at::kFloat) : at::Tensor());
  }
  config_ = lora_config(spec, settings, targets);
}

LoraAdapter::LoraAdapter(const DecoderSpec& spec, const Adapter& stored,
                         std::optional<double> dropout, std::uint64_t seed)
    : prefix_(missing_prefix(spec)), seed_(seed), stored_(true), config_(stored.config()) {
  check_continuable(stored);
  dropout_ = dropout ? *dropout
                     : json_number(config_, "lora_dropout",
                                   (stored.path() / "adapter_config.json").string(), 0);
  if (!(dropout_ >= 0 && dropout_ < 1))
    fail(ErrorKind::kUsage, "lora",
         fmt::format("expected a dropout from 0 to below 1, found {}", dropout_));
  std::size_t found = 0;
  for (const LinearModule& module : adaptable_modules(spec)) {
    for (const LoraModule& own : stored.modules()) {
      if (own.name != prefix_ + module.name && own.name != module.name) continue;
      if (module.embedding != (own.kind == LoraModule::Kind::kEmbedding)) continue;
      ++found;
      if (own.a->shape[1] != module.d_in || own.b->shape[0] != module.d_out)
        refuse(
            stored,
            fmt::format("module '{}': expected A [r, {}] and B [{}, r], found [r, {}] and [{}, r]",
                        printable(own.name), module.d_in, module.d_out, own.a->shape[1],
                        own.b->shape[0]),
            "the adapter was made for another model");
      add(module, stored_matrix(stored, *own.a), stored_matrix(stored, *own.b), own.scale,
          own.magnitude == nullptr ? at::Tensor()
                                   : stored_matrix(stored, *own.magnitude).flatten());
    }
  }
  if (found != stored.modules().size())
    refuse(stored,
           fmt::format("expected layers of the model, found {} modules of which it has {}",
                       stored.modules().size(), found),
           "the adapter was made for another model");
  config_["lora_dropout"] = dropout_;
  config_["inference_mode"] = true;
  config_.erase("base_model_name_or_path");
}

void LoraAdapter::add(const LinearModule& module, at::Tensor a, at::Tensor b, double scale,
                      at::Tensor magnitude) {
  a.requires_grad_(true);
  b.requires_grad_(true);
  if (magnitude.defined()) magnitude.requires_grad_(true);
  parts_.push_back(std::make_shared<LowRank>(LowRank{.module = module.name,
                                                     .a = std::move(a),
                                                     .b = std::move(b),
                                                     .magnitude = std::move(magnitude),
                                                     .scale = scale,
                                                     .dropout = module.embedding ? 0 : dropout_,
                                                     .seed = seed_,
                                                     .state = state_,
                                                     .tensor = module.tensor,
                                                     .layout = module.layout,
                                                     .embedding = module.embedding,
                                                     .head = module.head}));
}

at::Tensor LowRank::all_a() const { return a0.defined() ? at::cat({a.detach(), a0}) : a.detach(); }

at::Tensor LowRank::all_b() const {
  return b0.defined() ? at::cat({b.detach(), -b0}, 1) : b.detach();
}

LoraParts LoraAdapter::by_module() const {
  LoraParts out;
  for (const auto& part : parts_) out.emplace(part->module, part);
  return out;
}

std::vector<at::Tensor> LoraAdapter::parameters() const {
  std::vector<at::Tensor> out;
  for (const auto& part : parts_) {
    out.push_back(part->a);
    out.push_back(part->b);
  }
  for (const auto& part : parts_) {
    if (part->magnitude.defined()) out.push_back(part->magnitude);
  }
  return out;
}

std::int64_t LoraAdapter::parameter_count() const {
  std::int64_t out = 0;
  for (const at::Tensor& each : parameters()) out += each.numel();
  return out;
}

}  // namespace lancet
