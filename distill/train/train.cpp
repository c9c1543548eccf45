#include "distill/train/train.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "core/temporary.h"
#include "distill/train/before_after.h"
#include "distill/train/card.h"
#include "distill/train/identity.h"
#include "distill/train/new_adapter.h"
#include "distill/train/plan.h"
#include "distill/train/settings.h"
#include "distill/train/share.h"
#include "distill/train/trainer.h"
#include "model/buffer_pool.h"
#include "model/load_options.h"
#include "model/names.h"
#include "model/runtime.h"

namespace lancet {
namespace {

std::optional<LocalTeacher> open_teacher(const TrainRequest& request, const Tokenizer& tokenizer,
                                         const Loss& loss) {
  if (!request.teacher) return std::nullopt;
  return std::optional<LocalTeacher>(std::in_place, *request.teacher, tokenizer, loss);
}

/// How the student is loaded; asked before the data is read, and by --plan.
LoadOptions student_options(const TrainRequest& request, const RuntimeOptions& runtime) {
  LoadOptions out = load_options(runtime);
  out.quant = parse_base_quant(request.base_quant);
  check_load_options(out);
  return out;
}

/// kUsage where a file's own blocks are asked for and it has none.
void check_stored(const LoadOptions& options, const ModelSource& source, const DecoderSpec& spec) {
  if (options.quant != BaseQuant::kStored) return;
  for (const LinearModule& module : linear_modules(spec)) {
    const TensorInfo* const info = source.find(module.name + ".weight");
    if (info != nullptr && dtype_info(info->dtype).quantized) return;
  }
  fail(ErrorKind::kUsage, "train",
       "--base-quant stored: expected a model of quantised matrices, found none in it",
       "nf4, int8, fp8 and q8_0 quantise it in memory");
}

/// All of a run but its data: {"chat": the model has a chat template, "pairs", "top": what the loss
/// wants of the rows}.
Json check_training(const TrainRequest& request, const RuntimeOptions& runtime) {
  check_settings(request);
  const LoadOptions options = student_options(request, runtime);
  const Loss& loss = find_loss(request.loss);
  const ModelSource source = ModelSource::open(request.model);
  const Tokenizer tokenizer = Tokenizer::open(source);
  const DecoderSpec spec = Decoder::describe(source);
  check_stored(options, source, spec);
  (void)open_teacher(request, tokenizer, loss);
  (void)new_adapter(request, source, spec, runtime.seed);
  return {{"chat", ChatFormat::of(source).has_value()},
          {"pairs", loss.needs.pairs},
          {"top", loss.needs.top}};
}

/// A run in its parts, from open files to the written adapter.
class Run {
 public:
  Run(const TrainRequest& request, const RuntimeOptions& runtime, const Ranks& ranks)
      : request_(request),
        runtime_(runtime),
        ranks_(ranks),
        options_(student_options(request, runtime)),
        loss_(loss_options(request.loss, request.loss_options)),
        source_(ModelSource::open(request.model)),
        tokenizer_(Tokenizer::open(source_)),
        spec_(Decoder::describe(source_)),
        teacher_(open_teacher(request, tokenizer_, *loss_.loss)),
        data_(Dataset::load(request.data, source_, tokenizer_,
                            data_options(request, *loss_.loss, runtime.seed))),
        epochs_(data_, request),
        adapter_(new_adapter(request, source_, spec_, runtime.seed)) {
    check_stored(options_, source_, spec_);
    if (request.accumulate < ranks.size())
      fail(ErrorKind::kUsage, "train",
           fmt::format("expected --accumulate of at least {}, the number of processes, found {}",
                       ranks.size(), request.accumulate),
           "it counts the micro-batches of a step in all of them together");
  }

  [[nodiscard]] Json plan() const {
    warn_of_schedule();
    const TrainPlan plan = make_plan();
    return {{"plan", true},
            {"output", request_.out.string()},
            {"steps", epochs_.steps()},
            {"data", dataset_json(data_.report())},
            {"packs", pack_json(epochs_.report())},
            {"trainable", adapter_.parameter_count()},
            {"settings", settings_json(request_, loss_, adapter_)},
            {"estimate", plan.json()}};
  }

  [[nodiscard]] Json train(const TrainSink& sink);

 private:
  [[nodiscard]] TrainPlan make_plan() const {
    return plan_training(
        {.source = source_,
         .options = options_,
         .spec = spec_,
         .adapter = adapter_,
         .loss = *loss_.loss,
         .data = data_,
         .request = request_,
         .teacher = teacher_ ? &teacher_->source() : nullptr,
         .tokens = epochs_.steps() * request_.accumulate * epochs_.report().tokens /
                   static_cast<std::int64_t>(std::max<std::size_t>(1, epochs_.report().packs))});
  }
  void warn_of_schedule() const {
    const std::string unmet = Schedule(request_.schedule, epochs_.steps()).unmet();
    if (!unmet.empty()) log::warn(unmet);
  }
  [[nodiscard]] RunState begin(Checkpoints& checkpoints, Optimizer& optimizer);
  [[nodiscard]] RunState begin_first(Checkpoints& checkpoints, Optimizer& optimizer);
  [[nodiscard]] Json result_json(const RunState& state, std::int64_t saved, bool early) const;
  void write(const Json& result);

  const TrainRequest& request_;
  const RuntimeOptions& runtime_;
  const Ranks& ranks_;
  LoadOptions options_;
  LossOptions loss_;
  ModelSource source_;
  Tokenizer tokenizer_;
  DecoderSpec spec_;
  std::optional<LocalTeacher> teacher_;
  Dataset data_;
  Epochs epochs_;
  LoraAdapter adapter_;
  std::optional<temporary::DirectoryLock> lock_;  ///< of the output, by the first rank
};

RunState Run::begin(Checkpoints& checkpoints, Optimizer& optimizer) {
  RunState from;
  ranks_.together([&] {
    if (ranks_.first()) from = begin_first(checkpoints, optimizer);
  });
  if (ranks_.size() > 1) share_state(ranks_, from, adapter_, optimizer);
  return from;
}

RunState Run::begin_first(Checkpoints& checkpoints, Optimizer& optimizer) {
  fs::create_directories(request_.out);
  lock_.emplace(request_.out, "train");
  std::error_code ignored;
  // What a run leaves, and nothing else that may lie there.
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "README.md",
                           "NOTICE", "lancet.json", "checkpoints"}) {
    if (request_.force) fs::remove_all(request_.out / name, ignored);
  }
  fs::remove(request_.out / "failed_batch.jsonl", ignored);
  if (const auto state = checkpoints.resume(adapter_, optimizer)) {
    log::info(fmt::format("going on after step {} of {}", state->step, epochs_.steps()));
    return *state;
  }
  return {};
}

Json Run::train(const TrainSink& sink) {
  warn_of_schedule();
  const TrainPlan plan = make_plan();
  const auto optimizer = make_optimizer(request_.optimizer, adapter_.parameters());
  Json models{{"student", model_identity(source_, tokenizer_)}};
  if (teacher_) models["teacher"] = teacher_->identity();
  const Json identity = identity_of(request_, runtime_, data_,
                                    settings_json(request_, loss_, adapter_), std::move(models));
  if (!ranks_.agree(sha256_hex(dump_json(identity))))
    fail(ErrorKind::kMismatch, "train",
         "expected the same options, model and data in every process, found others");
  Checkpoints checkpoints(request_.out, identity);
  std::optional<Decoder> loaded;
  ranks_.together([&] {
    loaded = Decoder::load(source_, options_);
    adapter_.prepare(*loaded);
    LoadOptions whole = options_;
    whole.quant = BaseQuant::kNone;
    if (teacher_) teacher_->load(whole);
  });
  const Decoder& base = *loaded;
  const RunState from = begin(checkpoints, *optimizer);
  const bool speaks = ranks_.first();
  TrainLog log({.folder = speaks ? request_.log_dir.value_or(fs::path()) : fs::path(),
                .resume_step = from.step,
                .echo = speaks ? sink : TrainSink()});
  Student student(base, adapter_, loss_, plan.layers_kept, teacher_ ? &*teacher_ : nullptr);
  const std::optional<Rollouts> rollouts =
      loss_.loss->needs.rollouts ? std::optional<Rollouts>(std::in_place, tokenizer_,
                                                           request_.rollout_tokens, runtime_.seed)
                                 : std::nullopt;
  Trainer trainer({.request = request_,
                   .data = data_,
                   .adapter = adapter_,
                   .student = student,
                   .epochs = epochs_,
                   .optimizer = *optimizer,
                   .checkpoints = checkpoints,
                   .log = log,
                   .ranks = ranks_,
                   .pairs = loss_.loss->needs.pairs,
                   .rollouts = rollouts ? &*rollouts : nullptr});
  const RunState state = [&] {
    const BuffersKept kept;
    return trainer.run(from);
  }();
  Json result = result_json(state, trainer.saved_step(), trainer.stopped_early());
  if (!speaks) return result;
  RunRecord record;
  if (request_.forgetting) {
    record.forgetting = measure_forgetting(student.decoder(), adapter_, tokenizer_);
    result["forgetting"] = record.forgetting;
  }
  if (request_.samples > 0)
    record.samples = sample_texts(student.decoder(), adapter_, tokenizer_, data_,
                                  static_cast<std::size_t>(request_.samples));
  write(result);
  if (request_.save_every == 0 && request_.patience == 0) checkpoints.remove_all();
  record.title = request_.out.filename().string();
  record.settings = settings_json(request_, loss_, adapter_);
  record.data = {{"rows", dataset_json(data_.report())}, {"packs", pack_json(epochs_.report())}};
  record.result = result;
  log.finish(record);
  return result;
}

/// `eval_loss` is that of the step that is saved.
Json Run::result_json(const RunState& state, std::int64_t saved, bool early) const {
  Json out{
      {"done", true},           {"adapter", request_.out.string()}, {"steps", state.step},
      {"tokens", state.tokens}, {"seconds", state.seconds},         {"final_loss", state.loss}};
  out["saved_step"] = saved;
  if (state.last_eval) {
    out["eval_loss"] = saved == state.best_step ? *state.best_eval : *state.last_eval;
    out["last_eval_loss"] = *state.last_eval;
    if (state.first_eval) out["eval_loss_before"] = *state.first_eval;
    out["best_eval_loss"] = *state.best_eval;
    out["best_step"] = state.best_step;
  }
  out["stopped_early"] = early;
  out["trainable"] = adapter_.parameter_count();
  out["peak_memory"] = peak_memory();
  if (ranks_.size() > 1) out["ranks"] = ranks_.size();
  if (!ranks_.first()) out["rank"] = ranks_.rank();
  return out;
}

void Run::write(const Json& result) {
  AdapterFile file = adapter_file(adapter_, request_.model);
  file.readme = adapter_card(request_, adapter_, result);
  file.manifest = {{"command", {{"command", "train"}, {"model", request_.model.string()}}},
                   {"settings", settings_json(request_, loss_, adapter_)},
                   {"seed", runtime_.seed},
                   {"inputs", inputs_json(request_)},
                   {"data", dataset_json(data_.report())},
                   {"result", result}};
  add_licences(request_, file);
  write_adapter(request_.out, std::move(file));
}

}  // namespace

Json run_train(const TrainRequest& request, const RuntimeOptions& runtime, const TrainSink& sink) {
  if (request.settings_only) return check_training(request, runtime);
  const RankPlace place = request.plan ? RankPlace() : rank_place(process_environment());
  if (place.rank > 0) {  // the first one speaks for all
    log::set_level(log::Level::kQuiet);
    Progress::enable(false);
  }
  if (request.rank_timeout && place.size == 1 && !request.plan)
    log::warn("--rank-timeout: a single process waits for no other");
  constexpr double kRankTimeout = 600;
  const Ranks ranks(place, request.rank_timeout.value_or(kRankTimeout));
  RuntimeOptions own = runtime;
  own.device =
      rank_device(runtime.device, place,
                  at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0);
  std::optional<Run> run;
  ranks.together([&] {
    if (!request.plan && ranks.first()) check_out(request);
    check_settings(request);
    run.emplace(request, own, ranks);
  });
  return request.plan ? run->plan() : run->train(sink);
}

}  // namespace lancet
