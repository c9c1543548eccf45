#include "distill/verify/sandbox.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "distill/verify/cell/cell_report.h"
#include "distill/verify/confinement.h"
#include "distill/verify/spawn.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "sandbox";
constexpr int kPollMilliseconds = 100;
constexpr const char* kHint =
    "user namespaces must be allowed (sysctl kernel.unprivileged_userns_clone, "
    "user.max_user_namespaces; in a container: --security-opt seccomp=unconfined, "
    "--security-opt systempaths=unconfined)";

/// What interpreters and libraries say when memory is refused rather than taken.
constexpr std::string_view kMemoryWords[] = {
    "MemoryError", "std::bad_alloc", "Cannot allocate memory", "out of memory", "Out of memory"};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The running sandbox: reads its pipes, holds the limits that are held from outside, and ends it.
class Run {
 public:
  Run(const Program& program, const SandboxLimits& limits) : program_(program), limits_(limits) {
    Pipe output = make_pipe(), error = make_pipe(), report = make_pipe();
    const Descriptor input = make_memory_file("stdin", program.input);
    const Confinement confinement = confine(program, limits, std::move(report.write));
    child_ = spawn(confinement.argv, {input.get(), output.write.get(), error.write.get()},
                   confinement.passed);
    output_.pipe = std::move(output.read);
    error_.pipe = std::move(error.read);
    report_.pipe = std::move(report.read);
  }
  ~Run() { end(); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Outcome finish() {
    while (open_streams() > 0 && !cut_) {
      check_interrupted();
      pump();
    }
    end();
    return judge();
  }

 private:
  struct Stream {
    Descriptor pipe;
    std::string text;
  };
  const Program& program_;
  const SandboxLimits& limits_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int child_ = -1;
  Stream output_, error_, report_;
  std::optional<Verdict> cut_;  ///< ended by us, and why

  [[nodiscard]] int open_streams() const {
    return (output_.pipe.get() >= 0) + (error_.pipe.get() >= 0) + (report_.pipe.get() >= 0);
  }

  void pump() {
    const double left = limits_.wall_seconds - seconds_since(start_);
    if (left <= 0) {
      cut_ = Verdict::kWallTime;
      return;
    }
    Stream* streams[] = {&output_, &error_, &report_};
    pollfd polled[3];
    for (int i = 0; i < 3; ++i) polled[i] = {streams[i]->pipe.get(), POLLIN, 0};
    const int wait = std::min(kPollMilliseconds, static_cast<int>(left * 1000) + 1);
    if (::poll(polled, 3, wait) <= 0) return;
    for (int i = 0; i < 3; ++i) {
      if (polled[i].revents != 0) read_some(*streams[i]);
    }
    if (output_.text.size() > limits_.output || error_.text.size() > limits_.output)
      cut_ = Verdict::kOutput;
  }

  static void read_some(Stream& stream) {
    char buffer[1 << 16];
    const ssize_t got = ::read(stream.pipe.get(), buffer, sizeof buffer);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      stream.pipe.reset();
    } else {
      stream.text.append(buffer, static_cast<std::size_t>(got));
    }
  }

  /// bubblewrap's end is the end of the first process inside, and so of all.
  void end() {
    if (child_ < 0) return;
    if (open_streams() > 0) ::kill(child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) continue;
    child_ = -1;
  }

  [[nodiscard]] std::vector<CellReport> reports() const {
    std::vector<CellReport> all(report_.text.size() / sizeof(CellReport));
    if (!all.empty()) std::memcpy(all.data(), report_.text.data(), all.size() * sizeof(CellReport));
    return all;
  }

  Outcome judge() {
    Outcome outcome;
    outcome.wall_seconds = seconds_since(start_);
    const auto all = reports();
    if (all.empty()) {
      outcome.reason = fmt::format("bubblewrap: {}", printable(error_.text, 400));
      return outcome;
    }
    output_.text.resize(std::min<std::size_t>(output_.text.size(), limits_.output));
    error_.text.resize(std::min<std::size_t>(error_.text.size(), limits_.output));
    outcome.output = std::move(output_.text);
    outcome.error = std::move(error_.text);
    const CellReport& last = all.back();
    outcome.cpu_seconds = static_cast<double>(last.cpu_microseconds) / 1e6;
    outcome.peak_memory = last.peak_memory;
    outcome.peak_tasks = last.peak_tasks;
    if (cut_) {
      outcome.verdict = *cut_;
    } else if (all.size() == 1) {  // the sandbox stood, and ended without a word
      outcome.verdict = Verdict::kSignal;
      outcome.signal = SIGKILL;
    } else {
      outcome.step = program_.steps.at(last.step).name;
      judge_step(last, outcome);
    }
    return outcome;
  }

  void judge_step(const CellReport& last, Outcome& outcome) const {
    switch (last.event) {
      case CellEvent::kMemory:
        outcome.verdict = Verdict::kMemory;
        return;
      case CellEvent::kTasks:
        outcome.verdict = Verdict::kTasks;
        return;
      case CellEvent::kCpuTime:
        outcome.verdict = Verdict::kCpuTime;
        return;
      case CellEvent::kEnded:
        judge_status(last.status, outcome);
        return;
      case CellEvent::kReady:
      case CellEvent::kCannotStart:
        outcome.verdict = Verdict::kRefused;
        outcome.reason = fmt::format("cannot start a process inside the sandbox: {}",
                                     std::strerror(last.status));
    }
  }

  void judge_status(int status, Outcome& outcome) const {
    if (WIFEXITED(status)) {
      outcome.exit_code = WEXITSTATUS(status);
      outcome.verdict = outcome.exit_code == 0 ? Verdict::kOk : Verdict::kExit;
    } else {
      outcome.signal = WTERMSIG(status);
      const bool out_of_time = outcome.cpu_seconds >= std::ceil(limits_.cpu_seconds);
      outcome.verdict = outcome.signal == SIGXCPU                  ? Verdict::kCpuTime
                        : outcome.signal == SIGXFSZ                ? Verdict::kFileSize
                        : outcome.signal == SIGKILL && out_of_time ? Verdict::kCpuTime
                                                                   : Verdict::kSignal;
    }
    if (outcome.verdict != Verdict::kExit && outcome.verdict != Verdict::kSignal) return;
    const std::string_view tail =
        std::string_view(outcome.error)
            .substr(outcome.error.size() > 2000 ? outcome.error.size() - 2000 : 0);
    for (const std::string_view words : kMemoryWords) {
      if (tail.find(words) != std::string_view::npos) outcome.verdict = Verdict::kMemory;
    }
  }
};

void check_program(const Program& program) {
  if (program.steps.empty()) fail(ErrorKind::kUsage, kOperation, "expected a step, found none");
  for (const SandboxStep& step : program.steps) {
    if (step.argv.empty() || !step.argv[0].starts_with('/'))
      fail(ErrorKind::kUsage, kOperation, "expected the path of a program in every step");
  }
  for (const SandboxFile& file : program.files) {
    const bool plain = !file.name.empty() && file.name != "." && file.name != ".." &&
                       file.name.find('/') == std::string::npos &&
                       file.name.find('\0') == std::string::npos;
    if (!plain)
      fail(ErrorKind::kUsage, kOperation,
           fmt::format("expected a plain file name, found '{}'", printable(file.name)));
  }
}

template <typename T>
void check_range(const char* name, T value, T low, T high) {
  if (!(value >= low && value <= high))
    fail(ErrorKind::kUsage, kOperation,
         fmt::format("{}: expected {} to {}, found {}", name, low, high, value));
}

}  // namespace

std::string_view verdict_name(Verdict verdict) noexcept {
  constexpr std::string_view kNames[] = {"ok",     "exit",   "signal", "wall_time", "cpu_time",
                                         "memory", "output", "tasks",  "file_size", "refused"};
  return kNames[static_cast<std::size_t>(verdict)];
}

Json outcome_json(const Outcome& outcome) {
  Json json{{"verdict", verdict_name(outcome.verdict)}, {"step", outcome.step}};
  if (outcome.verdict == Verdict::kExit) json["exit_code"] = outcome.exit_code;
  if (outcome.verdict == Verdict::kSignal) json["signal"] = outcome.signal;
  if (outcome.verdict == Verdict::kRefused) json["reason"] = outcome.reason;
  json["wall_seconds"] = outcome.wall_seconds;
  json["cpu_seconds"] = outcome.cpu_seconds;
  json["peak_memory"] = outcome.peak_memory;
  json["peak_tasks"] = outcome.peak_tasks;
  json["stdout"] = utf8_lossy(outcome.output);
  json["stderr"] = utf8_lossy(outcome.error);
  return json;
}

std::string head_and_tail(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const std::size_t head = limit / 2, tail = limit - head;
  return utf8_lossy(fmt::format("{}\n... {} bytes left out ...\n{}", text.substr(0, head),
                                text.size() - limit, text.substr(text.size() - tail)));
}

Sandbox::Sandbox(SandboxLimits limits) : limits_(limits) {
  constexpr std::uint64_t kMiB = 1ULL << 20, kTiB = 1ULL << 40;
  check_range("wall_seconds", limits.wall_seconds, 0.01, 86400.0);
  check_range("cpu_seconds", limits.cpu_seconds, 0.01, 86400.0);
  check_range("memory", limits.memory, 8 * kMiB, kTiB);
  check_range<std::uint64_t>("tasks", limits.tasks, 1, 100000);
  check_range<std::uint64_t>("output", limits.output, 1, 1ULL << 30);
  check_range<std::uint64_t>("file_size", limits.file_size, 1, kTiB);
  check_range<std::uint64_t>("disk", limits.disk, 4096, kTiB);
}

Outcome Sandbox::run(const Program& program) const {
  check_program(program);
  try {
    Outcome outcome = Run(program, limits_).finish();
    if (outcome.verdict == Verdict::kRefused) outcome.reason += fmt::format(" ({})", kHint);
    return outcome;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kResource) throw;
    Outcome refused;
    refused.reason = error.message() + (error.hint().empty() ? "" : " (" + error.hint() + ")");
    return refused;
  }
}

std::vector<Outcome> Sandbox::run_all(const std::vector<Program>& programs) const {
  std::vector<Outcome> outcomes(programs.size());
  parallel::for_each(programs.size(), [&](std::size_t i) { outcomes[i] = run(programs[i]); });
  return outcomes;
}

void Sandbox::check() const {
  const Outcome outcome =
      run({.files = {}, .steps = {{"check", {"/bin/sh", "-c", ":"}}}, .input = {}});
  if (!outcome.ok())
    fail(ErrorKind::kResource, kOperation,
         outcome.reason.empty()
             ? fmt::format("the check program ended with {}", verdict_name(outcome.verdict))
             : outcome.reason);
}

}  // namespace lancet
