#include "distill/train/settings.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/outputs.h"
#include "core/text.h"
#include "distill/train/epochs.h"
#include "distill/train/identity.h"
#include "distill/train/optimizer.h"
#include "distill/train/plan.h"
#include "distill/train/schedule.h"
#include "formats/adapter/peft.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"
#include "version.h"

namespace lancet {
namespace {

/// A directory that a run of ours has made: an adapter, or the checkpoints of one.
bool is_ours(const fs::path& out) {
  std::error_code ignored;
  return is_adapter(out) || fs::is_directory(out / "checkpoints", ignored) ||
         fs::exists(out / "failed_batch.jsonl", ignored);
}

DataNeed need_of(const Loss& loss) {
  if (loss.needs.pairs) return DataNeed::kPreference;
  return loss.needs.top ? DataNeed::kTeacher : DataNeed::kText;
}

bool wants_teacher(const Loss& loss) { return loss.needs.teacher || loss.needs.rollouts; }

}  // namespace

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

namespace {

void check_loss(const TrainRequest& request) {
  const Loss& loss = *loss_options(request.loss, request.loss_options).loss;
  if (wants_teacher(loss) && !request.teacher)
    fail(ErrorKind::kUsage, "train",
         fmt::format("--loss {}: expected --teacher MODEL, which runs beside the student, found "
                     "none",
                     loss.name),
         "losses over a data file alone: sft, kd, dpo");
  if (!wants_teacher(loss) && request.teacher)
    fail(ErrorKind::kUsage, "train",
         fmt::format("--teacher: --loss {} asks no teacher that runs here", loss.name),
         "losses with one: logits, uld, on_policy");
}

/// Neither the log nor --force takes away what is read.
void check_files(const TrainRequest& request) {
  std::vector<fs::path> read = request.data;
  read.push_back(request.model);
  for (const auto& more : {request.init, request.teacher})
    if (more) read.push_back(*more);
  if (request.log_dir) {
    check_folder("train", *request.log_dir);
    const std::vector<fs::path> written{*request.log_dir / "steps.jsonl",
                                        *request.log_dir / "report.html"};
    check_apart("train", request.data, written);
    for (const fs::path& file : written) check_not_input("train", file, read);
  }
  if (request.force) check_not_input("train", request.out, read);
}

}  // namespace

void check_settings(const TrainRequest& request) {
  check_loss(request);
  check_epochs(request);
  check_checkpointing(request.checkpointing);
  (void)parse_overlong(request.overlong);
  (void)parse_bad_rows(request.bad_rows);
  (void)Schedule(request.schedule, 1);
  (void)make_optimizer(request.optimizer, {});
  check_files(request);
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
          {"teacher", r.teacher ? Json(r.teacher->string()) : Json()},
          {"rollout_tokens", loss.loss->needs.rollouts ? Json(r.rollout_tokens) : Json()},
          {"eval_fraction", r.eval_fraction},
          {"eval_every", r.eval_every},
          {"patience", r.patience}};
}

Json identity_of(const TrainRequest& request, const RuntimeOptions& runtime, const Dataset& data,
                 Json settings, Json models) {
  settings.erase("teacher");
  settings["version"] = LANCET_VERSION;
  settings["seed"] = runtime.seed;
  settings["base_quant"] = request.base_quant;
  settings["dtype"] = runtime.dtype == "auto" ? "float32" : runtime.dtype;
  if (runtime.activations == "bfloat16") settings["activations"] = runtime.activations;
  settings["data"] = data.hash();
  settings["models"] = std::move(models);
  settings["init"] = request.init ? Json(adapter_hash(*request.init)) : Json();
  return settings;
}

Json inputs_json(const TrainRequest& request) {
  Json inputs = Json::array({input_model(request.model)});
  for (const fs::path& path : request.data) inputs.push_back(input_file(path));
  if (request.init) inputs.push_back(input_adapter(*request.init));
  if (request.teacher) inputs.push_back(input_model(*request.teacher));
  return inputs;
}

}  // namespace lancet
