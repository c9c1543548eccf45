#include "merge/moe.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "core/text.h"
#include "merge/moe_gates.h"
#include "merge/ops/convert.h"

namespace lancet {
namespace {

constexpr std::uint64_t kChunk = 1ULL << 18;  ///< elements at a time
constexpr std::array<std::string_view, 3> kDense{"mlp.gate_proj.weight", "mlp.up_proj.weight",
                                                 "mlp.down_proj.weight"};
enum Part : std::size_t { kGate, kUp, kDown };

std::string layer_prefix(std::int64_t layer) { return fmt::format("model.layers.{}.", layer); }

/// scale * x + noise * normal, encoded; noise is drawn by element.
struct ExpertValues {
  double scale = 1, noise = 0;
  Random random;
};

void emit_values(const MergeInput& input, const InputTensor& tensor, DType dtype,
                 const ExpertValues& how, const std::function<void(Bytes)>& emit) {
  const Bytes raw = input.raw(tensor);
  const bool plain = how.scale == 1 && how.noise == 0;
  const auto reader = input.reader(tensor);
  if (plain && tensor.dtype == dtype && !raw.empty()) {
    const std::uint64_t whole = reader->elements();
    for (std::uint64_t at = 0; at < whole; at += kChunk) {
      check_interrupted();
      const std::uint64_t count = std::min(kChunk, whole - at);
      emit(raw.subspan(dtype_bytes(dtype, at).value(), dtype_bytes(dtype, count).value()));
      reader->release(at, at + count);
    }
    return;
  }
  std::vector<double> values;
  std::vector<float> noise;
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < reader->elements(); at += values.size()) {
    check_interrupted();
    values.resize(std::min(kChunk, reader->elements() - at));
    reader->read(at, values);
    if (how.scale != 1) {
      for (double& value : values) value *= how.scale;
    }
    if (how.noise != 0) {
      noise.resize(values.size());
      how.random.fill_normal(at, noise);
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] += how.noise * static_cast<double>(noise[i]);
    }
    bytes.resize(dtype_bytes(dtype, values.size()).value());
    if (!ops::store_values(dtype, values, bytes)) {
      fail(ErrorKind::kNumeric, "moe",
           fmt::format("{}: a value leaves the range of {}", reader->label(),
                       dtype_info(dtype).name));
    }
    emit(bytes);
    reader->release(at, at + values.size());
  }
}

OutputTensor tensor_of(const MergeInput& input, const InputTensor& tensor, std::string name,
                       DType dtype, ExpertValues how) {
  return {std::move(name), dtype, tensor.shape,
          [&input, &tensor, dtype, how](const std::function<void(Bytes)>& emit) {
            emit_values(input, tensor, dtype, how, emit);
          }};
}

/// True for a tensor that the experts replace.
bool is_dense_mlp(std::string_view name) {
  return std::ranges::any_of(kDense, [&](std::string_view part) { return name.ends_with(part); });
}

}  // namespace

void refuse_moe(const MoeRecipe& recipe, RecipePlace place, ErrorKind kind,
                const std::string& message, std::string hint) {
  fail(
      kind, "moe",
      fmt::format("{}:{}:{}: {}", printable(recipe.source, 400), place.line, place.column, message),
      std::move(hint));
}

Moe::Moe(MoeRecipe recipe, std::uint64_t seed) : recipe_(std::move(recipe)), seed_(seed) {
  open_inputs();
  add_base();
  for (std::int64_t layer = 0; layer < layers_; ++layer) add_layer(layer);
}

std::uint64_t Moe::bytes() const {
  std::uint64_t sum = 0;
  for (const OutputTensor& tensor : tensors_) {
    std::uint64_t elements = 1;
    for (const std::int64_t dim : tensor.shape) elements *= static_cast<std::uint64_t>(dim);
    sum += dtype_bytes(tensor.dtype, elements).value_or(0);
  }
  return sum;
}

std::map<std::string, std::string> Moe::side_files() const {
  auto files = base_->side_files();
  Json config = moe_config(*family_, base_->config(), recipe_.experts.size(), recipe_.shared.size(),
                           recipe_.experts_per_token);
  if (recipe_.dtype) {
    const std::string name = *recipe_.dtype == DType::kBF16  ? "bfloat16"
                             : *recipe_.dtype == DType::kF16 ? "float16"
                                                             : "float32";
    config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name;
  }
  files["config.json"] = dump_json(config, 2) + "\n";
  files["mergekit_moe_config.yml"] = recipe_.text;
  return files;
}

Json Moe::identities() const {
  Json out = Json::array({base_->identity()});
  for (const auto* list : {&experts_, &shared_}) {
    for (const auto& input : *list) out.push_back(input->identity());
  }
  return out;
}

void Moe::open_inputs() {
  base_ = open_input(recipe_.base, recipe_.directory, "moe");
  const Json& config = base_->config();
  if (!config.is_object() || !config.contains("num_hidden_layers")) {
    refuse_moe(recipe_, recipe_.base.place, ErrorKind::kMismatch,
               fmt::format("'{}' has no config.json with num_hidden_layers",
                           printable(recipe_.base.text, 200)));
  }
  const std::string where = base_->text() + "/config.json";
  const std::string type = json_string(config, "model_type", where);
  family_ =
      recipe_.architecture.empty() ? moe_family_of(type) : find_moe_family(recipe_.architecture);
  const bool fits =
      family_ != nullptr && std::ranges::find(family_->bases, type) != family_->bases.end();
  if (!fits) {
    refuse_moe(recipe_, recipe_.base.place, ErrorKind::kMismatch,
               fmt::format(
                   "expected a base of model_type llama, mistral, qwen2 or qwen3{}, found '{}'",
                   family_ == nullptr ? std::string() : fmt::format(" that fits {}", family_->name),
                   printable(type)));
  }
  const std::size_t shared = family_->shared_gate.empty() ? 0 : 1;
  const std::size_t least = family_->shared_optional ? 0 : shared;
  if (recipe_.shared.size() < least || recipe_.shared.size() > shared) {
    refuse_moe(recipe_, recipe_.base.place, ErrorKind::kUsage,
               fmt::format("{}: expected {}{} shared experts, found {}", family_->name,
                           least < shared ? "at most " : "", shared, recipe_.shared.size()),
               recipe_.shared.size() < least ? "list it under shared_experts:"
                                             : "leave the others out of shared_experts");
  }
  layers_ = json_int(config, "num_hidden_layers", where);
  static_cast<void>(json_int(config, "intermediate_size", where));  // moe_config() needs it
  for (const MoeExpert& expert : recipe_.experts)
    experts_.push_back(open_input(expert.model, recipe_.directory, "moe"));
  for (const MoeExpert& expert : recipe_.shared)
    shared_.push_back(open_input(expert.model, recipe_.directory, "moe"));
  for (std::size_t e = 0; e < experts_.size(); ++e) check_names(*experts_[e], recipe_.experts[e]);
  for (std::size_t e = 0; e < shared_.size(); ++e) check_names(*shared_[e], recipe_.shared[e]);
  const InputTensor* embedding = base_->find("model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    refuse_moe(
        recipe_, recipe_.base.place, ErrorKind::kMismatch,
        fmt::format("'{}' has no model.embed_tokens.weight", printable(recipe_.base.text, 200)));
  }
  width_ = embedding->shape[1];
}

/// Layers that the base does not have would be left out in silence.
void Moe::check_names(const MergeInput& input, const MoeExpert& expert) const {
  for (const InputTensor& tensor : input.tensors()) {
    if (!is_dense_mlp(tensor.name) || base_->find(tensor.name) != nullptr) continue;
    refuse_moe(recipe_, expert.place, ErrorKind::kMismatch,
               fmt::format("tensor '{}' of '{}': expected it in the base '{}' too, found none",
                           printable(tensor.name), printable(input.text(), 200),
                           printable(base_->text(), 200)),
               "experts are fine-tunes of one model: same layers, same sizes");
  }
}

DType Moe::dtype_of(const InputTensor& tensor) const {
  if (dtype_info(tensor.dtype).quantized) return recipe_.dtype.value_or(DType::kF32);
  return recipe_.dtype.value_or(tensor.dtype);
}

void Moe::add_base() {
  for (const InputTensor& tensor : base_->tensors()) {
    if (is_dense_mlp(tensor.name)) continue;
    if (tensor.name.find(".mlp.") != tensor.name.npos) {
      refuse_moe(recipe_, recipe_.base.place, ErrorKind::kMismatch,
                 fmt::format("tensor '{}': {} has no place for it", printable(tensor.name),
                             family_->name));
    }
    tensors_.push_back(
        tensor_of(*base_, tensor, tensor.name, dtype_of(tensor), {1, 0, Random(seed_, "")}));
  }
}

void Moe::add_layer(std::int64_t layer) {
  const std::string prefix = layer_prefix(layer);
  const auto name = [&](std::string_view pattern, std::size_t expert) {
    return prefix + fmt::format(fmt::runtime(pattern), expert);
  };
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    add_mlps(*experts_[e], recipe_.experts[e], layer,
             {name(family_->gate, e), name(family_->up, e), name(family_->down, e)},
             static_cast<std::uint32_t>(e));
  }
  add_router(prefix + std::string(family_->router), 0, experts_.size(), layer);
  if (shared_.empty()) return;
  add_mlps(
      *shared_[0], recipe_.shared[0], layer,
      {name(family_->shared_gate, 0), name(family_->shared_up, 0), name(family_->shared_down, 0)},
      static_cast<std::uint32_t>(experts_.size()));
  if (family_->shared_router.empty()) return;
  add_router(prefix + std::string(family_->shared_router), experts_.size(), 1, layer);
}

void Moe::add_mlps(const MergeInput& input, const MoeExpert& expert, std::int64_t layer,
                   const std::array<std::string, 3>& names, std::uint32_t number) {
  for (std::size_t part = 0; part < 3; ++part) {
    const std::string dense = layer_prefix(layer) + std::string(kDense[part]);
    const InputTensor* own = base_->find(dense);
    const InputTensor* tensor = input.find(dense);
    if (tensor == nullptr || own == nullptr || tensor->shape != own->shape) {
      refuse_moe(
          recipe_, expert.place, ErrorKind::kMismatch,
          fmt::format(
              "tensor '{}': expected [{}] as in the base '{}', found {} in '{}'", dense,
              own == nullptr ? std::string("none") : fmt::format("{}", fmt::join(own->shape, ", ")),
              printable(base_->text(), 200),
              tensor == nullptr ? std::string("none")
                                : fmt::format("[{}]", fmt::join(tensor->shape, ", ")),
              printable(input.text(), 200)),
          "experts are fine-tunes of one model: same layers, same sizes");
    }
    tensors_.push_back(tensor_of(input, *tensor, names[part], dtype_of(*tensor),
                                 {part == kDown ? expert.residual_scale : 1, expert.noise_scale,
                                  Random(seed_, names[part], number)}));
  }
}

void Moe::add_router(std::string name, std::size_t first, std::size_t count, std::int64_t layer) {
  const DType dtype = dtype_of(*base_->find(layer_prefix(layer) + std::string(kDense[kGate])));
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(count), width_};
  const Random random(seed_, name);
  tensors_.push_back(
      {std::move(name), dtype, shape,
       [this, dtype, first, count, random, layer](const std::function<void(Bytes)>& emit) {
         const std::vector<double> values =
             router_values(first, count, static_cast<std::size_t>(layer), random);
         std::vector<std::byte> bytes(dtype_bytes(dtype, values.size()).value());
         if (!ops::store_values(dtype, values, bytes))
           fail(ErrorKind::kInternal, "moe", "a router is not finite");
         emit(bytes);
       }});
}

void Moe::set_gates(GateRows gates) {
  warn_of_equal_gates(gates, experts_.size(), recipe_.warnings);
  gates_ = std::move(gates);
}

std::vector<double> Moe::router_values(std::size_t first, std::size_t count, std::size_t layer,
                                       const Random& random) const {
  std::vector<double> values;
  const double bound = 1 / std::sqrt(static_cast<double>(width_));
  const bool drawn = recipe_.gate == GateMode::kRandom || recipe_.gate == GateMode::kUniformRandom;
  for (std::size_t e = first; !drawn && e < first + count; ++e) {
    const std::vector<double>& row = gates_.at(gates_.size() > 1 ? layer : 0).at(e);
    values.insert(values.end(), row.begin(), row.end());
  }
  for (std::uint64_t at = 0; drawn && at < count * width(); ++at) {
    values.push_back(recipe_.gate == GateMode::kRandom ? static_cast<double>(random.normal(at))
                                                       : bound * (2 * random.uniform64(at) - 1));
  }
  return values;
}

}  // namespace lancet
