#include "distill/train/train.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "distill/train/before_after.h"
#include "distill/train/card.h"
#include "distill/train/plan.h"
#include "distill/train/share.h"
#include "distill/train/trainer.h"
#include "formats/model_writer.h"
#include "model/load_options.h"
#include "model/runtime.h"
#include "version.h"

namespace lancet {
namespace {

/// A directory that a run of ours has made: an adapter, or the checkpoints of one.
bool is_ours(const fs::path& out) {
  std::error_code ignored;
  return is_adapter(out) || fs::is_directory(out / "checkpoints", ignored) ||
         fs::exists(out / "failed_batch.jsonl", ignored);
}

/// A finished adapter is kept; one in the making is gone on with.
void check_out(const TrainRequest& request) {
  std::error_code ignored;
  const bool there = fs::exists(fs::symlink_status(request.out, ignored));
  const bool empty = fs::is_directory(request.out, ignored) && fs::is_empty(request.out, ignored);
  if (!there || empty) {
    if (!there) check_output("train", request.out, false);
    return;
  }
  if (is_adapter(request.out) || !is_ours(request.out))
    check_output("train", request.out, request.force);
  if (request.force && !is_ours(request.out))
    fail(ErrorKind::kUsage, "train",
         fmt::format("'{}' exists and holds no adapter: it is not replaced",
                     printable(request.out.string(), 400)),
         "choose another name, or remove it yourself");
}

DataNeed need_of(const Loss& loss) {
  if (loss.needs.pairs) return DataNeed::kPreference;
  return loss.needs.top ? DataNeed::kTeacher : DataNeed::kText;
}

void check_loss(const Loss& loss) {
  if (!loss.needs.teacher && !loss.needs.rollouts) return;
  fail(ErrorKind::kUsage, "train",
       fmt::format("--loss {}: needs a {} that runs beside the student", loss.name,
                   loss.needs.rollouts ? "teacher and a sampler" : "teacher"),
       "losses over a data file: sft, kd, dpo");
}

DatasetOptions data_options(const TrainRequest& request, const Loss& loss, std::uint64_t seed) {
  return {.need = need_of(loss),
          .max_length = request.max_length,
          .overlong = parse_overlong(request.overlong),
          .bad_rows = parse_bad_rows(request.bad_rows),
          .as_chat = request.as_chat,
          .ignored_keys = request.ignored_keys,
          .eval_fraction = request.eval_fraction,
          .seed = seed,
          .scratch = request.plan ? fs::path() : fs::absolute(request.out)};
}

Json settings_json(const TrainRequest& r, const LossOptions& loss, const LoraAdapter& adapter) {
  return {{"loss", loss.json()},
          {"lora", adapter.config()},
          {"optimizer", r.optimizer.name},
          {"lr", r.optimizer.lr},
          {"betas", {r.optimizer.beta1, r.optimizer.beta2}},
          {"epsilon", r.optimizer.epsilon},
          {"weight_decay", r.optimizer.weight_decay},
          {"lora_plus", r.optimizer.lora_plus},
          {"clip", r.optimizer.clip},
          {"schedule", r.schedule.name},
          {"warmup", r.schedule.warmup},
          {"lr_floor", r.schedule.floor},
          {"decay", r.schedule.decay},
          {"epochs", r.epochs},
          {"steps", r.steps},
          {"max_length", r.max_length},
          {"batch_tokens", r.batch_tokens},
          {"batch_size", r.batch_size},
          {"accumulate", r.accumulate},
          {"pack", r.pack},
          {"shuffle", r.shuffle},
          {"eval_fraction", r.eval_fraction},
          {"eval_every", r.eval_every},
          {"patience", r.patience}};
}

/// Everything that moves a bit of the run.
Json identity_of(const TrainRequest& request, const RuntimeOptions& runtime,
                 const ModelSource& source, const Dataset& data, Json settings) {
  settings["version"] = LANCET_VERSION;
  settings["seed"] = runtime.seed;
  settings["base_quant"] = request.base_quant;
  settings["dtype"] = runtime.dtype == "auto" ? "float32" : runtime.dtype;
  settings["data"] = data.hash();
  Json files = Json::array();
  for (const MappedFile& file : source.checkpoint().files())
    files.push_back({{"file", file.path().filename().string()}, {"bytes", file.size()}});
  settings["model"] = {{"config", sha256_hex(dump_json(source.config()))}, {"files", files}};
  settings["init"] =
      request.init ? Json(sha256_file(*request.init / "adapter_model.safetensors")) : Json();
  return settings;
}

LoraAdapter make_adapter(const TrainRequest& request, const DecoderSpec& spec, std::uint64_t seed) {
  if (!request.init) return LoraAdapter(spec, request.lora, seed);
  return LoraAdapter(spec, *Adapter::open(*request.init), request.init_dropout, seed);
}

Json inputs_json(const TrainRequest& request) {
  Json inputs = Json::array({{{"path", request.model.string()}}});
  for (const fs::path& path : request.data)
    inputs.push_back({{"path", path.string()}, {"sha256", sha256_file(path)}});
  if (request.init) inputs.push_back({{"path", request.init->string()}});
  return inputs;
}

/// A run in its parts, from open files to the written adapter.
class Run {
 public:
  Run(const TrainRequest& request, const RuntimeOptions& runtime, const Ranks& ranks)
      : request_(request),
        runtime_(runtime),
        ranks_(ranks),
        loss_(loss_options(request.loss, request.loss_options)),
        source_(ModelSource::open(request.model)),
        tokenizer_(Tokenizer::open(source_)),
        spec_(Decoder::describe(source_)),
        data_(Dataset::load(request.data, source_, tokenizer_,
                            data_options(request, *loss_.loss, runtime.seed))),
        epochs_(data_, request),
        adapter_(make_adapter(request, spec_, runtime.seed)) {
    for (const std::string& message : data_.report().messages) log::warn(message);
    if (request.accumulate < ranks.size())
      fail(ErrorKind::kUsage, "train",
           fmt::format("expected --accumulate of at least {}, the number of processes, found {}",
                       ranks.size(), request.accumulate),
           "it counts the micro-batches of a step in all of them together");
  }

  [[nodiscard]] Json plan() const {
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
        {.spec = spec_,
         .adapter = adapter_,
         .loss = *loss_.loss,
         .data = data_,
         .request = request_,
         .tokens = epochs_.steps() * request_.accumulate * epochs_.report().tokens /
                   static_cast<std::int64_t>(std::max<std::size_t>(1, epochs_.report().packs)),
         .bfloat16 = runtime_.dtype == "bfloat16",
         .offload = runtime_.offload == "disk"});
  }
  [[nodiscard]] RunState begin(Checkpoints& checkpoints, Optimizer& optimizer);
  [[nodiscard]] RunState begin_first(Checkpoints& checkpoints, Optimizer& optimizer);
  [[nodiscard]] Json result_json(const RunState& state, bool early) const;
  void write(const Json& result);

  const TrainRequest& request_;
  const RuntimeOptions& runtime_;
  const Ranks& ranks_;
  LossOptions loss_;
  ModelSource source_;
  Tokenizer tokenizer_;
  DecoderSpec spec_;
  Dataset data_;
  Epochs epochs_;
  LoraAdapter adapter_;
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
  std::error_code ignored;
  if (request_.force) fs::remove_all(request_.out, ignored);
  fs::remove(request_.out / "failed_batch.jsonl", ignored);
  if (const auto step = checkpoints.newest()) {
    log::info(fmt::format("going on after step {} of {}", *step, epochs_.steps()));
    return checkpoints.load(*step, adapter_, optimizer);
  }
  fs::create_directories(request_.out);
  return {};
}

Json Run::train(const TrainSink& sink) {
  const Schedule checked(request_.schedule, epochs_.steps());
  const TrainPlan plan = make_plan();
  const auto optimizer = make_optimizer(request_.optimizer, adapter_.parameters());
  const Json identity =
      identity_of(request_, runtime_, source_, data_, settings_json(request_, loss_, adapter_));
  if (!ranks_.agree(sha256_hex(dump_json(identity))))
    fail(ErrorKind::kMismatch, "train",
         "expected the same options, model and data in every process, found others");
  Checkpoints checkpoints(request_.out, identity);
  std::optional<Decoder> loaded;
  ranks_.together([&] {
    LoadOptions options = load_options(runtime_);
    options.quant = parse_base_quant(request_.base_quant);
    loaded = Decoder::load(source_, options);
    adapter_.prepare(*loaded);
  });
  const Decoder& base = *loaded;
  const RunState from = begin(checkpoints, *optimizer);
  const bool speaks = ranks_.first();
  TrainLog log({.folder = speaks ? request_.log_dir.value_or(fs::path()) : fs::path(),
                .resume_step = from.step,
                .echo = speaks ? sink : TrainSink()});
  Student student(base, adapter_, loss_, plan.layers_kept);
  Trainer trainer({.request = request_,
                   .data = data_,
                   .adapter = adapter_,
                   .student = student,
                   .epochs = epochs_,
                   .optimizer = *optimizer,
                   .checkpoints = checkpoints,
                   .log = log,
                   .ranks = ranks_,
                   .pairs = loss_.loss->needs.pairs});
  const RunState state = trainer.run(from);
  Json result = result_json(state, trainer.stopped_early());
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

Json Run::result_json(const RunState& state, bool early) const {
  Json out{
      {"done", true},           {"adapter", request_.out.string()}, {"steps", state.step},
      {"tokens", state.tokens}, {"seconds", state.seconds},         {"final_loss", state.loss}};
  if (state.last_eval) {
    out["eval_loss"] = *state.last_eval;
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
  const RankPlace place = request.plan ? RankPlace() : rank_place(process_environment());
  if (place.rank > 0) {  // the first one speaks for all
    log::set_level(log::Level::kQuiet);
    Progress::enable(false);
  }
  const Ranks ranks(place, request.rank_timeout);
  std::optional<Run> run;
  ranks.together([&] {
    if (!request.plan && ranks.first()) check_out(request);
    check_loss(find_loss(request.loss));
    run.emplace(request, runtime, ranks);
  });
  return request.plan ? run->plan() : run->train(sink);
}

}  // namespace lancet
