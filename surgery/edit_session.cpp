#include "surgery/edit_session.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "formats/containers/safetensors.h"
#include "model/runtime.h"
#include "surgery/files/facts.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"
#include "version.h"

namespace lancet {
namespace {

std::vector<float> to_floats(const at::Tensor& value) {
  const at::Tensor plain = value.to(at::kCPU, at::kFloat).contiguous();
  return {plain.data_ptr<float>(), plain.data_ptr<float>() + plain.numel()};
}

StageRecord stage_record(const EditRequest& request, const RuntimeOptions& runtime,
                         const EditPlan& plan, const std::vector<std::int64_t>& layers,
                         const Json& parameters, const Json& covariance) {
  StageRecord stage;
  stage.method = editor_of(request).name;
  stage.parameters = parameters;
  stage.seed = runtime.seed;
  stage.layers = layers;
  stage.covariance = covariance;
  if (plan.notes.contains("contexts"))
    stage.contexts = plan.notes["contexts"].get<std::vector<std::string>>();
  stage.created_by = fmt::format("lancet {}", LANCET_VERSION);
  stage.notes = plan.notes;
  stage.notes.erase("contexts");
  return stage;
}

Delta make_delta(const SurgeryModel& model, const EditRequest& request, const EditPlan& plan,
                 StageRecord stage) {
  Delta delta;
  delta.ledger.stages.push_back(std::move(stage));
  delta.ledger.tokenizer_sha256 = sha256_hex(dump_json(model.tokenizer.json()));
  std::vector<const Factors*> factors;
  for (const Factors& one : plan.factors) factors.push_back(&one);
  std::ranges::sort(factors, {}, &Factors::tensor);
  for (const Factors* one : factors) {
    const PlainTensor base = read_plain(model.source, one->tensor);
    delta.ledger.tensors.push_back({one->tensor, one->layer, one->layout, one->left.size(0),
                                    one->right.size(0), std::string(dtype_info(base.dtype).name),
                                    plain_sha256(base)});
    delta.tensors.push_back(
        {one->tensor, one->left.size(1), to_floats(one->left), to_floats(one->right)});
  }
  const auto count = static_cast<std::int64_t>(request.facts.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const Fact& fact = request.facts[static_cast<std::size_t>(i)];
    EditRecord edit{fact.id, 0, fact_to_json(fact), nullptr, {}};
    for (const DeltaTensor& tensor : delta.tensors) {
      const std::int64_t share = tensor.rank / count;
      edit.columns[tensor.name] = {i * share, (i + 1) * share};
    }
    if (delta.ledger.find_edit(edit.id) != nullptr) {
      fail(ErrorKind::kUsage, "edit", fmt::format("two facts have the id '{}'", edit.id),
           "give each record its own id");
    }
    delta.ledger.edits.push_back(std::move(edit));
  }
  return delta;
}

OutputTensor output_of(std::string name, const at::Tensor& value, DType dtype) {
  const at::Tensor plain =
      value.to(at::kCPU, dtype == DType::kF64 ? at::kDouble : at::kFloat).contiguous();
  return {std::move(name), dtype, plain.sizes().vec(),
          [plain](const std::function<void(Bytes)>& emit) {
            emit(Bytes(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
          }};
}

/// log p of the token after each prompt [prompts, vocab].
at::Tensor next_log_probs(const Decoder& model, const Tokenizer& tokenizer,
                          const std::vector<std::string>& prompts) {
  std::vector<at::Tensor> out;
  for (const std::string& prompt : prompts) {
    const auto ids = tokenizer.encode(prompt).ids;
    const at::Tensor input =
        at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong).unsqueeze(0);
    const at::Tensor hidden =
        model.run(model.embed(input.to(model.options().device())), 0, model.spec().layers);
    out.push_back(at::log_softmax(model.head(hidden[0][hidden.size(1) - 1]), -1));
  }
  return at::stack(out);
}

}  // namespace

SurgeryModel load_surgery_model(const fs::path& path, const RuntimeOptions& runtime) {
  ModelSource source = ModelSource::open(path);
  Tokenizer tokenizer = Tokenizer::open(source);
  LoadOptions options;
  options.dtype = resolve_dtype(runtime.dtype);
  options.device = resolve_device(runtime.device);
  Decoder decoder = Decoder::load(source, options);
  return {std::move(source), std::move(tokenizer), std::move(decoder)};
}

EditedModel realise(const SurgeryModel& model, const EditRequest& request,
                    const RuntimeOptions& runtime, const EditPlan& plan,
                    const std::vector<std::int64_t>& layers, const Json& parameters,
                    const Json& covariance) {
  EditedModel out{make_delta(model, request, plan,
                             stage_record(request, runtime, plan, layers, parameters, covariance)),
                  open_stack(model.source),
                  {},
                  model.decoder,
                  {},
                  0};
  out.ids = push_delta(out.stack, model.source, out.delta, "edit", request.force);
  for (const DeltaTensor& tensor : out.delta.tensors) {
    const PlainTensor& edited = out.stack.changed.at(tensor.name).edited;
    const at::Tensor before = model.decoder.weight(tensor.name);
    std::vector<float> values = plain_values(edited);
    const at::Tensor after =
        at::from_blob(values.data(), edited.shape, at::kFloat).to(before.options()).clone();
    out.decoder = out.decoder.with_weight(tensor.name, after);
    const at::Tensor change = (after - before).to(at::kCPU, at::kDouble);
    out.relative_norm[tensor.name] =
        change.norm().item<double>() / before.to(at::kDouble).norm().item<double>();
    out.spectral_ratio =
        std::max(out.spectral_ratio, spectral_norm(change) / spectral_norm(before));
  }
  return out;
}

CovarianceSource::CovarianceSource(const SurgeryModel& model, std::string wish)
    : model_(model), wish_(std::move(wish)) {
  if (wish_ == "auto") config_sha256_ = sha256_hex(dump_json(model.source.config()));
}

at::Tensor CovarianceSource::matrix(std::int64_t layer) {
  if (wish_ == "none") return {};
  const auto found = matrices_.find(layer);
  if (found != matrices_.end()) return found->second;
  const MatrixRef down = model_.decoder.mlp_down(layer);
  const std::int64_t d_ff = down.weight.size(down.layout == MatrixLayout::kOutIn ? 1 : 0);
  const Covariance covariance =
      wish_ == "auto" ? automatic_covariance(model_.decoder, config_sha256_, model_.tokenizer,
                                             layer, shipped_covariance_text())
                      : read_covariance(wish_, layer, d_ff);
  identities_[std::to_string(layer)] = covariance.identity;
  return matrices_[layer] = covariance.matrix;
}

LayerTrial try_layer(const SurgeryModel& model, const Editor& editor, const Fact& fact,
                     std::int64_t layer, std::uint64_t seed) {
  const Parameters parameters(editor.numbers, editor.words,
                              {{"steps", "12"}, {"context_count", "4"}});
  const EditPlan plan = editor.plan({model.decoder,
                                     model.tokenizer,
                                     {fact},
                                     {layer},
                                     [](std::int64_t) { return at::Tensor(); },
                                     parameters,
                                     seed});
  Decoder edited = model.decoder;
  for (const Factors& factors : plan.factors) {
    const at::Tensor before = edited.weight(factors.tensor);
    const at::Tensor change = at::matmul(factors.left, factors.right.t()).to(before.options());
    edited = edited.with_weight(
        factors.tensor, before + (factors.layout == MatrixLayout::kOutIn ? change : change.t()));
  }
  const auto prompts = make_leak_prompts(fact, 8);
  const at::Tensor p = next_log_probs(model.decoder, model.tokenizer, prompts);
  const at::Tensor q = next_log_probs(edited, model.tokenizer, prompts);
  Fact bare = fact;
  bare.paraphrases.clear();
  bare.neighbors.clear();
  bare.unrelated.clear();
  const auto answers = ask(edited, make_questions(nullptr, model.tokenizer, {bare}));
  return {answers.front().says_target, (p.exp() * (p - q)).sum(-1).mean().item<double>(),
          std::exp(-answers.front().nll_target)};
}

void save_dump(const fs::path& path, const EditPlan& plan) {
  std::vector<OutputTensor> tensors;
  const auto count = static_cast<std::int64_t>(plan.traces.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const FactTrace& trace = plan.traces[static_cast<std::size_t>(i)];
    for (const auto& [layer, key] : trace.keys)
      tensors.push_back(output_of(fmt::format("{}.key.{}", i, layer), key, DType::kF32));
    tensors.push_back(output_of(fmt::format("{}.value", i), trace.value, DType::kF32));
    tensors.push_back(output_of(fmt::format("{}.losses", i), trace.losses, DType::kF64));
    for (const Factors& factors : plan.factors) {
      const std::int64_t share = factors.left.size(1) / count;
      tensors.push_back(output_of(fmt::format("{}.left.{}", i, factors.layer),
                                  factors.left.narrow(1, i * share, share), DType::kF32));
      tensors.push_back(output_of(fmt::format("{}.right.{}", i, factors.layer),
                                  factors.right.narrow(1, i * share, share), DType::kF32));
    }
  }
  (void)save_safetensors(path, std::move(tensors), {{"format", "pt"}});
}

void Stopwatch::lap(const std::string& name) {
  const auto now = Clock::now();
  laps_[name] = laps_.value(name, 0.0) + std::chrono::duration<double>(now - last_).count();
  last_ = now;
}

double Stopwatch::total() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

}  // namespace lancet
