#include "surgery/edit_session.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "formats/containers/safetensors.h"
#include "model/load_options.h"
#include "model/runtime.h"
#include "surgery/down.h"
#include "surgery/files/facts.h"
#include "surgery/files/sketch.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"
#include "version.h"

namespace lancet {
namespace {

std::vector<float> to_floats(const at::Tensor& value) {
  const at::Tensor plain = value.to(at::kCPU, at::kFloat).contiguous();
  return {plain.data_ptr<float>(), plain.data_ptr<float>() + plain.numel()};
}

/// What was found for one fact, into its record: of a key, the part that each matrix reads.
void note_trace(const FactTrace& trace, const std::vector<Factors>& factors, EditRecord& edit) {
  edit.residual = trace.residual;
  if (trace.value.defined()) edit.value = to_floats(trace.value);
  for (const auto& [layer, key] : trace.keys) {
    for (const Factors& one : factors) {
      if (one.layer == layer)
        edit.keys[one.tensor] = to_floats(key.narrow(0, one.first, one.right.size(0)));
    }
  }
}

OutputTensor output_of(std::string name, const at::Tensor& value, DType dtype) {
  const at::Tensor plain =
      value.to(at::kCPU, dtype == DType::kF64 ? at::kDouble : at::kFloat).contiguous();
  return {std::move(name), dtype, plain.sizes().vec(),
          [plain](const std::function<void(Bytes)>& emit) {
            emit(Bytes(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
          }};
}

/// Layers chosen by hand, preset or sweep as this editor writes them.
LayerChoice fitted(LayerChoice choice, const Editor& editor, const DecoderSpec& spec) {
  if (editor.reach == Reach::kRange) return spread_layers(std::move(choice), spec);
  if (choice.layers.size() != 1) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected one layer, found {}", editor.name, choice.layers.size()),
         "give --layers N, or take an editor of several layers (lancet list editors)");
  }
  return choice;
}

}  // namespace

SurgeryModel load_surgery_model(const fs::path& path, const RuntimeOptions& runtime) {
  ModelSource source = ModelSource::open(path);
  Tokenizer tokenizer = Tokenizer::open(source);
  return load_surgery_model(std::move(source), std::move(tokenizer), runtime);
}

SurgeryModel load_surgery_model(ModelSource source, Tokenizer tokenizer,
                                const RuntimeOptions& runtime) {
  Decoder decoder = Decoder::load(source, load_options(runtime));
  return {std::move(source), std::move(tokenizer), std::move(decoder)};
}

StageRecord stage_record(const Editor& editor, const Parameters& parameters, std::uint64_t seed,
                         const std::vector<std::int64_t>& layers, const EditPlan& plan) {
  StageRecord stage;
  stage.method = editor.name;
  stage.parameters = parameters.json();
  stage.seed = seed;
  stage.layers = layers;
  if (plan.notes.contains("contexts"))
    stage.contexts = plan.notes["contexts"].get<std::vector<std::string>>();
  stage.created_by = fmt::format("lancet {}", LANCET_VERSION);
  stage.notes = plan.notes;
  stage.notes.erase("contexts");
  stage.joint = plan.joint;
  return stage;
}

std::vector<std::pair<std::int64_t, std::int64_t>> column_ranges(const EditPlan& plan,
                                                                 std::int64_t rank,
                                                                 std::int64_t facts) {
  std::vector<std::pair<std::int64_t, std::int64_t>> out;
  const std::int64_t share = rank / facts;
  for (std::int64_t i = 0; i < facts; ++i) {
    if (plan.joint) {
      out.emplace_back(i == 0 ? 0 : rank, rank);
    } else {
      out.emplace_back(i * share, (i + 1) * share);
    }
  }
  return out;
}

Delta make_delta(const std::vector<Fact>& facts, const EditPlan& plan, StageRecord stage,
                 const Tokenizer& tokenizer,
                 const std::function<PlainTensor(const std::string& tensor)>& base) {
  Delta delta;
  delta.ledger.stages.push_back(std::move(stage));
  delta.ledger.tokenizer_sha256 = sha256_hex(dump_json(tokenizer.json()));
  std::vector<const Factors*> factors;
  for (const Factors& one : plan.factors) factors.push_back(&one);
  std::ranges::sort(factors, {}, &Factors::tensor);
  for (const Factors* one : factors) {
    const PlainTensor plain = base(one->tensor);
    delta.ledger.tensors.push_back({one->tensor, one->layer, one->layout, one->left.size(0),
                                    one->right.size(0), std::string(dtype_info(plain.dtype).name),
                                    plain_sha256(plain), sketch_plain(plain)});
    delta.tensors.push_back(
        {one->tensor, one->left.size(1), to_floats(one->left), to_floats(one->right)});
  }
  for (std::size_t i = 0; i < facts.size(); ++i) {
    EditRecord edit{facts[i].id, 0, fact_to_json(facts[i]), nullptr, {}};
    for (const DeltaTensor& tensor : delta.tensors)
      edit.columns[tensor.name] = column_ranges(plan, tensor.rank, std::ssize(facts))[i];
    note_trace(plan.traces[i], plan.factors, edit);
    if (delta.ledger.find_edit(edit.id) != nullptr) {
      fail(ErrorKind::kUsage, "edit", fmt::format("two facts have the id '{}'", edit.id),
           "give each record its own id");
    }
    delta.ledger.edits.push_back(std::move(edit));
  }
  return delta;
}

Decoder with_plain(const Decoder& model, const std::string& name, const PlainTensor& tensor) {
  std::vector<float> values = plain_values(tensor);
  return model.with_weight(name, at::from_blob(values.data(), tensor.shape, at::kFloat)
                                     .to(model.weight(name).options())
                                     .clone());
}

EditedModel realise(const SurgeryModel& model, const EditPlan& plan, const std::vector<Fact>& facts,
                    StageRecord stage, bool force) {
  EditedModel out{{}, open_stack(model.source), {}, model.decoder, {}, {}, 0};
  stage.follows = !out.stack.delta.ledger.stages.empty();
  out.delta = make_delta(facts, plan, std::move(stage), model.tokenizer,
                         [&](const std::string& name) { return read_plain(model.source, name); });
  out.ids = push_delta(out.stack, model.source, out.delta, "edit", force);
  for (const DeltaTensor& tensor : out.delta.tensors) {
    const at::Tensor before = model.decoder.weight(tensor.name);
    out.decoder = with_plain(out.decoder, tensor.name, out.stack.changed.at(tensor.name).edited);
    const at::Tensor change = (out.decoder.weight(tensor.name) - before).to(at::kCPU, at::kDouble);
    out.relative_norm[tensor.name] =
        change.norm().item<double>() / before.to(at::kDouble).norm().item<double>();
    out.delta_norm[tensor.name] = delta_norm(tensor);
    out.spectral_ratio =
        std::max(out.spectral_ratio, spectral_norm(change) / spectral_norm(before));
  }
  return out;
}

CovarianceSource::CovarianceSource(const Decoder& model, const Tokenizer& tokenizer,
                                   const Json& config, std::string wish)
    : model_(model), tokenizer_(tokenizer), wish_(std::move(wish)) {
  if (wish_ == "auto") config_sha256_ = sha256_hex(dump_json(config));
}

at::Tensor CovarianceSource::matrix(std::int64_t layer) {
  if (wish_ == "none") return {};
  const auto found = matrices_.find(layer);
  if (found != matrices_.end()) return found->second;
  const std::int64_t width = key_width(model_, layer);
  const Covariance covariance = wish_ == "auto"
                                    ? automatic_covariance(model_, config_sha256_, tokenizer_,
                                                           layer, shipped_covariance_text())
                                    : read_covariance(wish_, layer, width);
  if (covariance.tokens > 0 && covariance.tokens < width) {
    log::warn(fmt::format(
        "the second moments of layer {} are singular: {} tokens for {} units (--covariance {}); "
        "about {} tokens are enough",
        layer, covariance.tokens, width, wish_, 10 * width));
  }
  identities_[std::to_string(layer)] = covariance.identity;
  return matrices_[layer] = covariance.matrix;
}

const Editor& trial_editor(const Editor& wanted) {
  const bool has_contexts = std::ranges::any_of(
      wanted.numbers, [](const Parameter& each) { return each.name == "context_count"; });
  return has_contexts && !wanted.needs_covariance ? wanted : find_editor("rome");
}

LayerTrial try_layer(const SurgeryModel& model, const Editor& wanted, const Fact& fact,
                     std::int64_t layer, std::uint64_t seed) {
  const Editor& editor = trial_editor(wanted);
  const Parameters parameters(editor.numbers, editor.words,
                              {{"steps", "12"}, {"context_count", "4"}, {"sink", "0"}});
  const EditPlan plan = editor.plan({model.decoder,
                                     model.tokenizer,
                                     {fact},
                                     {layer},
                                     [](std::int64_t) { return at::Tensor(); },
                                     parameters,
                                     seed});
  Decoder edited = model.decoder;
  for (const Factors& factors : plan.factors) {
    const MatrixRef matrix{factors.tensor, factors.layout, factors.left.size(0),
                           factors.right.size(0)};
    edited = edited.with_change(matrix, at::matmul(factors.left, factors.right.t()));
  }
  const auto prompts = make_leak_prompts(fact, 8);
  const at::Tensor p = next_log_probs(model.decoder, model.tokenizer, prompts);
  const at::Tensor q = next_log_probs(edited, model.tokenizer, prompts);
  Fact bare = fact;
  bare.paraphrases.clear();
  bare.neighbors.clear();
  bare.unrelated.clear();
  const auto answers = ask(edited, make_questions(nullptr, model.tokenizer, {bare}));
  return {answers.front().says_target ? 1.0 : 0.0,
          (p.exp() * (p - q)).sum(-1).mean().item<double>(), std::exp(-answers.front().nll_target)};
}

std::optional<LayerChoice> known_layers(const std::string& wish, const Editor& editor,
                                        const DecoderSpec& spec) {
  if (editor.reach == Reach::kAll) return every_layer(wish, spec.layers);
  if (editor.reach == Reach::kLate) return late_layer(wish, spec);
  auto told = told_layers(wish, spec);
  if (!told) return std::nullopt;
  return fitted(*std::move(told), editor, spec);
}

LayerChoice layers_of(const std::string& wish, const Editor& editor, const SurgeryModel& model,
                      const Fact& fact, std::uint64_t seed) {
  const DecoderSpec& spec = model.decoder.spec();
  if (auto known = known_layers(wish, editor, spec)) return *std::move(known);
  LayerChoice choice = choose_layers(
      wish, spec, [&](std::int64_t layer) { return try_layer(model, editor, fact, layer, seed); });
  return fitted(std::move(choice), editor, spec);
}

void save_dump(const fs::path& path, const EditPlan& plan) {
  std::vector<OutputTensor> tensors;
  const auto count = static_cast<std::int64_t>(plan.traces.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const FactTrace& trace = plan.traces[static_cast<std::size_t>(i)];
    for (const auto& [layer, key] : trace.keys)
      tensors.push_back(output_of(fmt::format("{}.key.{}", i, layer), key, DType::kF32));
    if (trace.value.defined())
      tensors.push_back(output_of(fmt::format("{}.value", i), trace.value, DType::kF32));
    tensors.push_back(output_of(fmt::format("{}.losses", i), trace.losses, DType::kF64));
    for (const Factors& factors : plan.factors) {
      const auto [first, last] =
          column_ranges(plan, factors.left.size(1), count)[static_cast<std::size_t>(i)];
      if (first == last) continue;
      const std::string at = factors.first == 0
                                 ? std::to_string(factors.layer)
                                 : fmt::format("{}.{}", factors.layer, factors.first);
      tensors.push_back(output_of(fmt::format("{}.left.{}", i, at),
                                  factors.left.narrow(1, first, last - first), DType::kF32));
      tensors.push_back(output_of(fmt::format("{}.right.{}", i, at),
                                  factors.right.narrow(1, first, last - first), DType::kF32));
    }
  }
  (void)save_safetensors(path, std::move(tensors), {{"format", "pt"}});
}

void LapTimer::lap(const std::string& name) {
  const auto now = Clock::now();
  laps_[name] = laps_.value(name, 0.0) + std::chrono::duration<double>(now - last_).count();
  last_ = now;
}

double LapTimer::total() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

}  // namespace lancet
