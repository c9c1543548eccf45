#include "distill/train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/checkpoint.h"

namespace lancet {
namespace {

constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kState = "state.json";
constexpr std::string_view kStep = "step-";

DType dtype_of(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kByte ? DType::kU8 : DType::kF32;
}

OutputTensor output(const std::string& name, const at::Tensor& tensor) {
  return {name, dtype_of(tensor), tensor.sizes().vec(), [tensor](const auto& emit) {
            emit({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
          }};
}

void copy_into(const ::lancet::Checkpoint& file, const std::string& name,
               const at::Tensor& tensor) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr || info->shape != tensor.sizes().vec() || info->dtype != dtype_of(tensor))
    fail(ErrorKind::kInput, "train",
         fmt::format("expected the tensor '{}' in its shape, found another or none ({})", name,
                     file.path().string()));
  const Bytes bytes = file.data(*info);
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
}

std::optional<std::int64_t> step_of(const std::string& name) {
  std::int64_t step = 0;
  if (!name.starts_with(kStep)) return std::nullopt;
  const char* const end = name.data() + name.size();
  const auto [at, error] = std::from_chars(name.data() + kStep.size(), end, step);
  return at == end && error == std::errc() ? std::optional(step) : std::nullopt;
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> read_optional(const Json& json, const char* key) {
  const auto at = json.find(key);
  if (at == json.end() || !at->is_number()) return std::nullopt;
  return at->get<double>();
}

std::vector<float> values_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().contiguous();
  const auto* from = plain.const_data_ptr<float>();
  return {from, from + plain.numel()};
}

/// The first key whose values differ.
void check_same_run(const Json& stored, const Json& now, const fs::path& folder) {
  if (stored == now) return;
  for (const auto& [key, value] : now.items()) {
    if (stored.is_object() && stored.contains(key) && stored[key] == value) continue;
    const std::string was =
        stored.is_object() && stored.contains(key) ? dump_json(stored[key]) : "nothing";
    fail(ErrorKind::kUsage, "train",
         fmt::format("{} holds checkpoints of another run: '{}' was {}, now it is {}",
                     printable(folder.string(), 400), key, printable(was),
                     printable(dump_json(value))),
         "the same command goes on; --force begins anew");
  }
  fail(ErrorKind::kUsage, "train",
       fmt::format("{} holds checkpoints of another run", printable(folder.string(), 400)),
       "--force begins anew");
}

}  // namespace

Json RunState::json() const {
  return {{"step", step},
          {"tokens", tokens},
          {"seconds", seconds},
          {"loss", loss},
          {"first_eval", optional_json(first_eval)},
          {"last_eval", optional_json(last_eval)},
          {"best_eval", optional_json(best_eval)},
          {"best_step", best_step},
          {"worse_evals", worse_evals},
          {"eval_step", eval_step}};
}

RunState RunState::from_json(const Json& json, std::string_view where) {
  RunState out;
  out.step = json_int(json, "step", where);
  out.tokens = static_cast<std::uint64_t>(json_int(json, "tokens", where));
  out.seconds = json_number(json, "seconds", where, 0);
  out.loss = json_number(json, "loss", where, 0);
  out.first_eval = read_optional(json, "first_eval");
  out.last_eval = read_optional(json, "last_eval");
  out.best_eval = read_optional(json, "best_eval");
  out.best_step = json_int(json, "best_step", where);
  out.worse_evals = json_int(json, "worse_evals", where);
  out.eval_step = json_int(json, "eval_step", where);
  return out;
}

/// Twice the rank at the same scale: what began as a part of the base is taken off by the second
/// half, and the adapter is a plain one (PEFT's conversion of PiSSA and OLoRA).
void double_ranks(Json& config) {
  const double factor = config["use_rslora"].get<bool>() ? std::sqrt(2.0) : 2.0;
  const auto twice = [](Json& rank) { rank = 2 * rank.get<std::int64_t>(); };
  const auto more = [&](Json& alpha) { alpha = factor * alpha.get<double>(); };
  twice(config["r"]);
  more(config["lora_alpha"]);
  for (auto& [key, rank] : config["rank_pattern"].items()) twice(rank);
  for (auto& [key, alpha] : config["alpha_pattern"].items()) more(alpha);
  config["init_lora_weights"] = true;
}

AdapterFile adapter_file(const LoraAdapter& adapter, const fs::path& base) {
  AdapterFile out;
  out.base = base.string();
  out.config = adapter.config();
  for (const auto& part : adapter.parts()) {
    out.modules.push_back(
        {.module = adapter.file_name(*part),
         .kind = part->embedding ? LoraModule::Kind::kEmbedding : LoraModule::Kind::kLinear,
         .rank = part->all_rank(),
         .d_in = part->a.size(1),
         .d_out = part->b.size(0),
         .a = values_of(part->all_a()),
         .b = values_of(part->all_b()),
         .magnitude =
             part->magnitude.defined() ? values_of(part->magnitude) : std::vector<float>()});
  }
  if (adapter.parts().front()->a0.defined()) double_ranks(out.config);
  return out;
}

Checkpoints::Checkpoints(const fs::path& out, Json run)
    : folder_(out / "checkpoints"), run_(std::move(run)) {}

fs::path Checkpoints::path_of(std::int64_t step) const {
  return folder_ / fmt::format("{}{:08}", kStep, step);
}

std::vector<std::int64_t> Checkpoints::steps() const {
  std::vector<std::int64_t> out;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    if (const auto step = step_of(it->path().filename().string())) out.push_back(*step);
  }
  std::ranges::sort(out);
  return out;
}

std::optional<RunState> Checkpoints::resume(const LoraAdapter& adapter, Optimizer& optimizer) {
  std::vector<std::pair<std::int64_t, std::string>> damaged;
  std::vector<std::int64_t> all = steps();
  std::ranges::reverse(all);
  for (const std::int64_t step : all) {
    try {
      const RunState state = load(step, adapter, optimizer);
      for (const auto& [newer, why] : damaged) {
        log::warn(fmt::format("{} is damaged ({}): going on from {} instead, and making it anew",
                              printable(path_of(newer).string(), 400), why,
                              printable(path_of(step).string(), 400)));
        fs::remove_all(path_of(newer));
      }
      return state;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput) throw;
      damaged.emplace_back(step, error.message());
    }
  }
  if (damaged.empty()) return std::nullopt;
  fail(ErrorKind::kInput, "train",
       fmt::format("expected a checkpoint to go on from, found {} damaged: {}", damaged.size(),
                   damaged.front().second),
       fmt::format("remove {}, or give --force: the run then begins anew",
                   printable(folder_.string(), 400)));
}

bool Checkpoints::has(std::int64_t step) const { return fs::exists(path_of(step) / kState); }

void Checkpoints::save(const RunState& state, const LoraAdapter& adapter, const fs::path& base,
                       Optimizer& optimizer) {
  if (has(state.step)) return;
  std::error_code ignored;
  fs::create_directories(folder_, ignored);
  AtomicDirectory directory(path_of(state.step));
  write_adapter(directory.path(), adapter_file(adapter, base));
  std::vector<OutputTensor> tensors;
  for (const auto& [name, tensor] : optimizer.state()) tensors.push_back(output(name, tensor));
  save_safetensors(directory.path() / kOptimizer, std::move(tensors), {});
  Json json = state.json();
  json["optimizer_steps"] = optimizer.steps();
  json["run"] = run_;
  write_file(directory.path() / kState, dump_json(json, 2) + "\n");
  directory.commit();
}

void Checkpoints::load_values(std::int64_t step, const LoraAdapter& adapter) const {
  const auto file = ::lancet::Checkpoint::open(path_of(step) / "adapter_model.safetensors");
  for (const auto& part : adapter.parts()) {
    const std::string name = "base_model.model." + adapter.file_name(*part);
    const at::Tensor a = part->all_a().clone();
    const at::Tensor b = part->all_b().clone();
    copy_into(*file, name + (part->embedding ? ".lora_embedding_A" : ".lora_A.weight"), a);
    copy_into(*file, name + (part->embedding ? ".lora_embedding_B" : ".lora_B.weight"), b);
    const std::int64_t rank = part->a.size(0);
    part->a.detach().copy_(a.narrow(0, 0, rank));
    part->b.detach().copy_(b.narrow(1, 0, rank));
    if (part->a0.defined()) {
      part->a0.copy_(a.narrow(0, rank, rank));
      part->b0.copy_(-b.narrow(1, rank, rank));
    }
    if (part->magnitude.defined())
      copy_into(*file, name + ".lora_magnitude_vector", part->magnitude.detach());
  }
}

RunState Checkpoints::load(std::int64_t step, const LoraAdapter& adapter, Optimizer& optimizer) {
  const fs::path path = path_of(step) / kState;
  const Json json = read_json(path);
  if (!json.is_object())
    fail(ErrorKind::kInput, "train", fmt::format("{}: expected an object", path.string()));
  check_same_run(json.value("run", Json()), run_, folder_);
  load_values(step, adapter);
  const auto file = ::lancet::Checkpoint::open(path_of(step) / kOptimizer);
  for (const auto& [name, tensor] : optimizer.state()) copy_into(*file, name, tensor);
  optimizer.set_steps(json_int(json, "optimizer_steps", path.string()));
  return RunState::from_json(json, path.string());
}

void Checkpoints::prune(std::int64_t keep, std::int64_t best_step) const {
  const std::vector<std::int64_t> all = steps();
  const auto count = static_cast<std::int64_t>(all.size());
  for (std::int64_t i = 0; i + keep < count; ++i) {
    const std::int64_t step = all[static_cast<std::size_t>(i)];
    if (step == best_step) continue;
    std::error_code ignored;
    fs::remove_all(path_of(step), ignored);
  }
}

void Checkpoints::remove_all() const {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace lancet
