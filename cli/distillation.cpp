#include "cli/distillation.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "cli/engine.h"
#include "cli/factory.h"
#include "cli/stage_command.h"
#include "cli/stage_state.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr const char* kStages[] = {"synthesize", "curate", "train", "evaluate"};

std::vector<fs::path> paths_of(const Json& list) {
  std::vector<fs::path> out;
  for (const Json& each : list) out.emplace_back(each.get<std::string>());
  return out;
}

class Distillation {
 public:
  Distillation(const fs::path& file, std::optional<std::uint64_t> seed, const CommonOptions& common)
      : common_(common),
        source_(file.string()),
        job_(open_factory().describe_job(file, seed)),
        out_(job_["output"].get<std::string>()),
        state_(out_) {
    prepare_curate();
    prepare_train();
  }

  /// Every stage's checks are made before the first one runs, or would.
  [[nodiscard]] Json run(const std::string& only) {
    Json stages = Json::array();
    bool earlier_runs = false;
    only_ = only;
    for (const char* name : kStages) {
      if (!is_wanted(name)) continue;
      stages.push_back(stage(name, earlier_runs));
      earlier_runs = earlier_runs || stages.back()["status"] != "up to date";
    }
    if (stages.empty())
      fail(ErrorKind::kUsage, "distill",
           fmt::format("{}: expected a stage to run, found none", printable(source_)),
           only.empty() ? "" : fmt::format("the job has no block for {}", only));
    Json out{{"job", source_}, {"output", out_.string()}, {"stages", std::move(stages)}};
    if (has("train")) out["adapter"] = adapter().string();
    return out;
  }

 private:
  const CommonOptions& common_;
  std::string source_;
  Json job_;
  fs::path out_;
  StageState state_;
  std::optional<StageCommand> curate_, train_;
  std::string only_;      ///< the one stage that is asked for, or ""
  bool checked_ = false;  ///< check_settings() has been called

  [[nodiscard]] bool is_wanted(const std::string& stage) const {
    return has(stage) && (only_.empty() || only_ == stage);
  }
  [[nodiscard]] bool has(std::string_view stage) const {
    return !job_[std::string(stage)].is_null();
  }
  [[nodiscard]] fs::path adapter() const { return out_ / "adapter"; }
  [[nodiscard]] fs::path evaluation() const { return out_ / "evaluation.json"; }
  [[nodiscard]] fs::path curated() const { return out_ / "curated.jsonl"; }
  [[nodiscard]] std::string student() const { return job_["student"]["model"].get<std::string>(); }
  [[nodiscard]] std::string student_name() const {
    return has("student") ? job_["student"]["name"].get<std::string>() : "";
  }
  [[nodiscard]] std::string seed() const { return job_["seed"].dump(); }

  /// What the teacher said, or the rows that were there.
  [[nodiscard]] std::vector<fs::path> raw_rows() const {
    return has("rows") ? paths_of(job_["rows"]) : std::vector<fs::path>{out_ / "data.jsonl"};
  }
  [[nodiscard]] std::vector<fs::path> rows() const {
    return has("curate") ? std::vector<fs::path>{curated()} : raw_rows();
  }

  void prepare_curate() {
    if (!has("curate")) return;
    curate_.emplace("curate", source_);
    curate_->set(job_["curate"], {"output"});
    for (const fs::path& path : raw_rows()) curate_->add(path.string());
    curate_->add("--output=" + curated().string());
    if (job_settings_lack("curate", "seed")) curate_->add("--seed=" + seed());
    if (!student_name().empty()) curate_->add("--name=" + student_name());
    if (has("student") && !job_["student"]["licence"].get<std::string>().empty())
      curate_->add("--teacher-licence=" + job_["student"]["licence"].get<std::string>());
    curate_->parse();
  }

  void prepare_train() {
    if (!has("train")) return;
    train_.emplace("train", source_);
    train_->set(job_["train"], {"out", "data"});
    train_->add(student());
    for (const fs::path& path : rows()) train_->add("--data=" + path.string());
    train_->add("--out=" + adapter().string());
    if (job_settings_lack("train", "seed")) train_->add("--seed=" + seed());
    if (job_settings_lack("train", "log-dir")) train_->add("--log-dir=" + (out_ / "log").string());
    train_->parse();
  }

  /// Settings, and the files that they name, of all stages that are asked for: before anybody is
  /// paid.
  void check_settings() {
    if (std::exchange(checked_, true)) return;
    if (common_.plan && is_wanted("synthesize"))
      (void)open_factory().synthesize(synthesize_request());
    if (is_wanted("curate")) (void)curate_->check();
    if (is_wanted("train")) check_rows(train_->check());
  }

  /// `wanted`: {"chat", "pairs", "top"} of the student and its loss, against what the recipe makes.
  void check_rows(const Json& wanted) const {
    if (!has("synthesize")) return;
    const Json& asked = job_["synthesize"];
    const std::string kind = asked["rows"].get<std::string>();
    const std::string loss = trained_with("loss", "sft");
    const auto refuse = [&](ErrorKind why, const std::string& message, const char* hint) {
      fail(why, "job", fmt::format("{}: train: {}", printable(source_), message), hint);
    };
    if (wanted["pairs"].get<bool>() != (kind == "preference"))
      refuse(ErrorKind::kUsage,
             fmt::format("the recipe makes rows of {}, which --loss {} does not take", kind, loss),
             "--loss dpo and the recipe preference go together");
    if (wanted["top"].get<bool>() && kind != "text" && asked["top_logprobs"] == 0)
      refuse(
          ErrorKind::kUsage,
          fmt::format("--loss {} learns from log probabilities, and the teacher is asked for none",
                      loss),
          "teacher: {logprobs: 20}");
    if (kind == "messages" && !wanted["chat"].get<bool>())
      refuse(ErrorKind::kMismatch,
             fmt::format("the recipe makes conversations, and '{}' has no chat template",
                         printable(student())),
             "start from a model that has one");
  }

  [[nodiscard]] SynthesizeRequest synthesize_request() const {
    return {.job = source_,
            .output = out_ / "data.jsonl",
            .plan = common_.plan,
            .force = true,
            .seed = job_["seed"].get<std::uint64_t>(),
            .model_name = student_name(),
            .accept_terms_risk = job_["accept_terms_risk"].get<bool>()};
  }

  [[nodiscard]] bool job_settings_lack(const char* block, std::string_view name) const {
    for (const Json& setting : job_[block]) {
      std::string key = setting["key"].get<std::string>();
      std::replace(key.begin(), key.end(), '_', '-');
      if (key == name) return false;
    }
    return true;
  }

  /// Files that a setting names, as "decontaminate=FILE" or "FILE" do, count as inputs.
  [[nodiscard]] Json settings_key(const StageCommand& command) {
    Json files = Json::array();
    for (const std::string& setting : command.settings()) {
      for (std::size_t at = 0; at < setting.size();) {
        const std::size_t end = std::min(setting.find_first_of("=:,", at), setting.size());
        const fs::path piece = setting.substr(at, end - at);
        std::error_code ignored;
        if (end > at && fs::is_regular_file(piece, ignored)) files.push_back(state_.hash(piece));
        at = end + 1;
      }
    }
    return {{"settings", command.settings()}, {"files", std::move(files)}};
  }

  /// What the stage depends on; kInput when an earlier stage's file is missing.
  [[nodiscard]] std::string key_of(const std::string& stage) {
    Json key{{"stage", stage}, {"seed", job_["seed"]}};
    if (stage == "synthesize") {
      key["asks"] = job_["synthesize"]["asks"];
      key["files"] = state_.hashes(paths_of(job_["synthesize"]["files"]));
    } else if (stage == "curate") {
      key["rows"] = state_.hashes(raw_rows());
      key["options"] = settings_key(*curate_);
      key["student"] = job_["student"];
    } else if (stage == "train") {
      key["rows"] = state_.hashes(rows());
      key["model"] = state_.hashes({student()});
      key["options"] = settings_key(*train_);
      for (const char* option : {"teacher", "init"}) {
        const auto values = train_->values(option);
        if (!values.empty()) key[option] = state_.hashes({values.back()});
      }
    } else {
      key["adapter"] = state_.hashes({adapter() / "adapter_model.safetensors"});
      key["model"] = state_.hashes({student()});
      key["texts"] = state_.hashes(evaluated_texts());
      key["rows"] = state_.hashes(held_rows());
      key["train"] = train_->settings();
    }
    return sha256_hex(dump_json(key));
  }

  [[nodiscard]] std::vector<fs::path> outputs_of(const std::string& stage) const {
    if (stage == "synthesize") return {out_ / "data.jsonl"};
    if (stage == "curate") return {curated()};
    if (stage == "train")
      return {adapter() / "adapter_model.safetensors", adapter() / "adapter_config.json"};
    return {evaluation()};
  }

  [[nodiscard]] Json stage(const std::string& name, bool earlier_runs) {
    // In a plan the inputs of a stage may not be there yet.
    if (common_.plan && earlier_runs)
      return {{"stage", name}, {"status", "would run"}, {"why", "a stage before it would run"}};
    const std::string key = key_of(name);
    const std::string why = common_.force ? "asked for by --force" : state_.stale(name, key);
    if (why.empty())
      return {{"stage", name}, {"status", "up to date"}, {"result", state_.result(name)}};
    check_settings();
    if (common_.plan) return {{"stage", name}, {"status", "would run"}, {"why", why}};
    log::info(fmt::format("{}: {}", name, why));
    const bool goes_on = state_.was_begun(name, key) && !common_.force;
    state_.begin(name, key);
    const auto start = std::chrono::steady_clock::now();
    Json result = perform(name, goes_on);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    state_.finish(name, outputs_of(name), result, seconds);
    return {{"stage", name},
            {"status", "done"},
            {"why", why},
            {"seconds", seconds},
            {"result", std::move(result)}};
  }

  [[nodiscard]] Json perform(const std::string& name, bool goes_on) {
    if (name == "synthesize") return open_factory().synthesize(synthesize_request());
    if (name == "curate") return curate_->run(true, common_, [](const Json&) {});
    if (name == "train") {
      const bool whole = fs::exists(adapter() / "adapter_model.safetensors");
      return train_->run(whole || (!goes_on && fs::exists(adapter())), common_, tell_step);
    }
    return evaluate();
  }

  static void tell_step(const Json& line) {
    if (!line.is_object() || !line.contains("loss") || !line["loss"].is_number()) return;
    const bool held = line.value("eval", false);
    const std::string text =
        fmt::format("step {}: {} {:.4f}", line["step"].dump(), held ? "held-out loss" : "loss",
                    line["loss"].get<double>());
    held ? log::info(text) : log::verbose(text);
  }

  [[nodiscard]] std::vector<fs::path> evaluated_texts() const {
    auto texts = paths_of(job_["evaluate"]["texts"]);
    if (!texts.empty()) return texts;
    return {share_dir() / "texts" / "perplexity.txt"};
  }

  /// The block's rows, or those that training held out some of; none when it held out nothing, or
  /// learnt preferences.
  [[nodiscard]] std::vector<fs::path> held_rows() const {
    auto own = paths_of(job_["evaluate"]["rows"]);
    if (!own.empty()) return own;
    if (trained_with("loss", "sft") == "dpo" || std::stod(trained_with("eval-fraction", "0")) <= 0)
      return {};
    return rows();
  }

  [[nodiscard]] std::string trained_with(std::string_view option,
                                         const std::string& fallback) const {
    const auto values = train_->values(option);
    return values.empty() ? fallback : values.back();
  }

  [[nodiscard]] HeldOutRequest held_request(const fs::path& model) const {
    HeldOutRequest out{.model = model, .rows = held_rows()};
    const bool own = !job_["evaluate"]["rows"].empty();
    out.eval_fraction = own ? 0 : std::stod(trained_with("eval-fraction", "0"));
    out.max_length = std::stoll(trained_with("max-length", "1024"));
    out.overlong = trained_with("overlong", "truncate");
    out.bad_rows = trained_with("bad-rows", "error");
    out.as_chat = trained_with("as-chat", "false") == "true";
    out.ignored_keys = train_->values("ignore-keys");
    return out;
  }

  [[nodiscard]] Json evaluate() {
    RuntimeOptions runtime = common_.runtime;
    Engine& engine = open_engine(runtime);
    const fs::path after = student() + "+" + adapter().string();
    Json out{{"model", student()}, {"adapter", adapter().string()}};
    out["perplexity"] = Json::array();
    for (const fs::path& text : evaluated_texts()) {
      const ScoreRequest request{.texts = {read_file(text, 1ULL << 30)}};
      const auto perplexity = [&](const fs::path& model) {
        ScoreRequest one = request;
        one.model = model;
        return engine.score(one, runtime).perplexity;
      };
      const double old = perplexity(student()), now = perplexity(after);
      out["perplexity"].push_back(
          {{"text", text.string()}, {"before", old}, {"after", now}, {"ratio", now / old}});
    }
    out["held_out"] = nullptr;
    if (!held_rows().empty()) {
      const Json old = engine.held_out_loss(held_request(student()), runtime);
      const Json now = engine.held_out_loss(held_request(after), runtime);
      out["held_out"] = {{"rows", now["rows"]},
                         {"targets", now["targets"]},
                         {"before", old["loss"]},
                         {"after", now["loss"]}};
    }
    write_file(evaluation(), dump_json(out, 2) + "\n");
    return out;
  }
};

}  // namespace

std::vector<std::string> distill_stages() { return {std::begin(kStages), std::end(kStages)}; }

Json run_distillation(const fs::path& file, const std::string& only,
                      std::optional<std::uint64_t> seed, const CommonOptions& common) {
  return Distillation(file, seed, common).run(only);
}

}  // namespace lancet
