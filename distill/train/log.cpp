#include "distill/train/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <optional>

#include "core/file.h"
#include "core/temporary.h"
#include "distill/train/events.h"
#include "distill/train/page.h"

namespace lancet {
namespace {

/// Lines of an earlier run up to a step; a torn last line is none.
std::string kept_lines(const fs::path& path, std::int64_t step) {
  if (step <= 0 || !fs::exists(path)) return {};
  const std::string text = read_file(path, 16ULL << 30);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const Json line = Json::parse(text.substr(at, end - at), nullptr, false);
    const bool known =
        line.is_object() && line.contains("step") && line["step"].is_number_integer();
    if (known && line["step"].get<std::int64_t>() <= step) out.append(text, at, end + 1 - at);
    at = end + 1;
  }
  return out;
}

Json step_json(const StepRecord& record) {
  Json out{{"step", record.step},           {"epoch", record.epoch},
           {"loss", record.loss},           {"lr", record.lr},
           {"grad_norm", record.grad_norm}, {"tokens", record.tokens},
           {"targets", record.targets},     {"tokens_per_second", record.tokens_per_second},
           {"seconds", record.seconds},     {"peak_memory", record.peak_memory}};
  for (const auto& [name, value] : record.more) out[name] = value;
  return out;
}

Json eval_json(const EvalRecord& record) {
  Json out{{"step", record.step},       {"eval", true},
           {"loss", record.loss},       {"perplexity", std::exp(record.loss)},
           {"targets", record.targets}, {"seconds", record.seconds}};
  for (const auto& [name, value] : record.more) out[name] = value;
  return out;
}

}  // namespace

struct TrainLog::Impl {
  Options options;
  std::optional<EventFile> events;
  fs::path lines;
  int fd = -1;

  explicit Impl(Options given) : options(std::move(given)) {
    if (options.folder.empty()) return;
    std::error_code error;
    fs::create_directories(options.folder, error);
    if (error) temporary::fail_write(options.folder, error.value(), "make");
    lines = options.folder / "steps.jsonl";
    write_file(lines, kept_lines(lines, options.resume_step));
    fd = ::open(lines.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) temporary::fail_write(lines, errno);
    events.emplace(options.folder, options.resume_step);
  }
  ~Impl() {
    if (fd >= 0) ::close(fd);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void line(const Json& json) {
    if (options.echo) options.echo(json);
    if (fd < 0) return;
    const std::string text = dump_json(json) + "\n";
    std::string_view rest = text;
    while (!rest.empty()) {
      const ssize_t wrote = ::write(fd, rest.data(), rest.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) temporary::fail_write(lines, errno);
      rest.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }

  void scalars(const std::string& group, std::int64_t step,
               std::vector<std::pair<std::string, double>> values,
               const std::vector<std::pair<std::string, double>>& more) {
    if (!events) return;
    values.insert(values.end(), more.begin(), more.end());
    for (auto& [name, value] : values) name.insert(0, group);
    events->scalars(step, values);
  }
};

TrainLog::TrainLog(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
TrainLog::~TrainLog() = default;

void TrainLog::step(const StepRecord& record) {
  impl_->line(step_json(record));
  impl_->scalars("train/", record.step,
                 {{"loss", record.loss},
                  {"lr", record.lr},
                  {"grad_norm", record.grad_norm},
                  {"tokens_per_second", record.tokens_per_second}},
                 record.more);
}

void TrainLog::eval(const EvalRecord& record) {
  impl_->line(eval_json(record));
  impl_->scalars("eval/", record.step,
                 {{"loss", record.loss}, {"perplexity", std::exp(record.loss)}}, record.more);
}

void TrainLog::finish(const RunRecord& run) {
  if (impl_->fd < 0) return;
  const std::string text = read_file(impl_->lines, 16ULL << 30);
  std::vector<Json> records;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    records.push_back(parse_json(std::string_view(text).substr(at, end - at), "steps.jsonl"));
    at = end + 1;
  }
  write_file(impl_->options.folder / "report.html", train_page(run, records));
}

}  // namespace lancet
