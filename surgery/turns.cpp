#include "surgery/turns.h"

#include <cstring>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

constexpr const char* kTraces = "traces";
constexpr const char* kHasState = "state";

std::string turn_name(std::int64_t turn) { return fmt::format("turn-{:06}.safetensors", turn); }
std::string state_name(std::int64_t turn) { return fmt::format("state-{:06}.safetensors", turn); }

std::string value_name(std::size_t fact) { return fmt::format("{}.value", fact); }
std::string losses_name(std::size_t fact) { return fmt::format("{}.losses", fact); }
std::string key_name(std::size_t fact, std::int64_t layer) {
  return fmt::format("{}.key.{}", fact, layer);
}

OutputTensor kept_tensor(const std::string& name, const at::Tensor& value) {
  const at::Tensor plain = value.detach().to(at::kCPU).contiguous();
  const bool wide = plain.scalar_type() == at::kDouble;
  if (!wide && plain.scalar_type() != at::kFloat)
    fail(ErrorKind::kInternal, "edit", fmt::format("a turn holds '{}' of another dtype", name));
  return {name, wide ? DType::kF64 : DType::kF32, plain.sizes().vec(),
          [plain](const std::function<void(Bytes)>& emit) {
            emit(Bytes(static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()));
          }};
}

EditTurn load_turn(const fs::path& path) {
  const MappedFile file(path);
  const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), path.string());
  EditTurn out;
  out.json = parse_json(header.metadata.at("json"), path.string());
  for (const TensorInfo& info : header.tensors) {
    at::Tensor value = at::empty(info.shape, info.dtype == DType::kF64 ? at::kDouble : at::kFloat);
    std::memcpy(value.mutable_data_ptr(), file.bytes().data() + info.offset, info.bytes);
    out.tensors.emplace(info.name, std::move(value));
  }
  return out;
}

}  // namespace

void EditTurn::add(const FactTrace& trace) {
  Json& list = json[kTraces];
  const std::size_t fact = list.size();
  Json layers = Json::array();
  for (const auto& [layer, key] : trace.keys) {
    layers.push_back(layer);
    tensors.emplace(key_name(fact, layer), key);
  }
  if (trace.value.defined()) tensors.emplace(value_name(fact), trace.value);
  if (trace.losses.defined()) tensors.emplace(losses_name(fact), trace.losses);
  list.push_back({{"id", trace.id},
                  {"keys", layers},
                  {"subject_last", trace.subject_last},
                  {"residual", trace.residual}});
}

std::vector<FactTrace> EditTurn::traces() const {
  std::vector<FactTrace> out;
  const auto tensor = [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? at::Tensor() : found->second;
  };
  for (const Json& entry : json.at(kTraces)) {
    const std::size_t fact = out.size();
    FactTrace trace;
    trace.id = entry.at("id");
    for (const std::int64_t layer : entry.at("keys"))
      trace.keys.emplace_back(layer, tensor(key_name(fact, layer)));
    trace.value = tensor(value_name(fact));
    trace.losses = tensor(losses_name(fact));
    trace.subject_last = entry.at("subject_last");
    trace.residual = entry.at("residual");
    out.push_back(std::move(trace));
  }
  return out;
}

Turns::Turns(OutputJournal& journal) : journal_(journal) {
  bool has_state = false;
  while (is_there(turn_name(found_ + 1)))
    has_state = load_turn(journal_.path() / turn_name(++found_)).json.value(kHasState, false);
  while (has_state && found_ > 0 && !is_there(state_name(found_))) --found_;
}

bool Turns::is_there(const std::string& name) const {
  const auto file = journal_.finished(name);
  if (!file) return false;
  if (OutputJournal::is_intact(*file)) return true;
  log::warn(fmt::format("the finished file {} has changed since it was written", name));
  return false;
}

std::optional<EditTurn> Turns::take() {
  if (next_ >= found_) return std::nullopt;
  EditTurn turn = load_turn(journal_.path() / turn_name(++next_));
  if (next_ == found_ && turn.json.value(kHasState, false))
    turn.tensors.merge(load_turn(journal_.path() / state_name(next_)).tensors);
  return turn;
}

void Turns::keep(const EditTurn& turn, const TurnTensors& state) {
  ++next_;
  Json json = turn.json;
  json[kHasState] = !state.empty();
  // Behind each other: a turn that stands has its state, and the one before it until then.
  if (!state.empty()) save(state_name(next_), Json::object(), state);
  save(turn_name(next_), json, turn.tensors);
  std::error_code ignored;
  if (!state.empty()) fs::remove(journal_.path() / state_name(next_ - 1), ignored);
}

void Turns::save(const std::string& name, const Json& json, const TurnTensors& tensors) {
  std::vector<OutputTensor> outputs;
  for (const auto& [key, value] : tensors) outputs.push_back(kept_tensor(key, value));
  const fs::path path = journal_.path() / name;
  std::string hash = save_safetensors(path, std::move(outputs), {{"json", dump_json(json)}});
  journal_.record({path, fs::file_size(path), std::move(hash)});
}

}  // namespace lancet
