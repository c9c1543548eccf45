#pragma once
// Generated code under bubblewrap: no network, no home, the system read-only, a private /tmp and
// /work of bounded size, an empty environment, a list of allowed system calls, limits on time,
// memory, tasks, output and files; everything it started is killed with it. Where the kernel or
// bubblewrap refuse, the code is not run at all.

#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

struct SandboxLimits {
  double wall_seconds = 10;               ///< of all steps together
  double cpu_seconds = 10;                ///< of all processes together
  std::uint64_t memory = 512ULL << 20;    ///< of all processes together, without files mapped
  std::uint64_t tasks = 64;               ///< processes and threads at a time
  std::uint64_t output = 1ULL << 20;      ///< bytes on stdout, and again on stderr
  std::uint64_t file_size = 64ULL << 20;  ///< of one file
  std::uint64_t disk = 256ULL << 20;      ///< of /tmp, and again of /work
};

/// A file of the program, read-only in /work. `name` is a plain name.
struct SandboxFile {
  std::string name;
  std::string text;
};

/// One process to run; the next step runs only after exit 0.
struct SandboxStep {
  std::string name;  ///< "compile", "run"
  std::vector<std::string> argv;
};

struct Program {
  std::vector<SandboxFile> files;
  std::vector<SandboxStep> steps;
  std::string input;  ///< stdin of the first step that reads it
};

enum class Verdict {
  kOk,      ///< every step ended with exit 0
  kExit,    ///< a step ended with another exit code
  kSignal,  ///< a step was ended by a signal of its own making
  kWallTime,
  kCpuTime,
  kMemory,
  kOutput,
  kTasks,  ///< more processes and threads than allowed
  kFileSize,
  kRefused  ///< the sandbox does not stand; nothing was run
};
/// "ok", "exit", "signal", "wall_time", ...
[[nodiscard]] std::string_view verdict_name(Verdict verdict) noexcept;

struct Outcome {
  Verdict verdict = Verdict::kRefused;
  std::string step;   ///< the step that decided; empty when refused or out of wall time
  int exit_code = 0;  ///< kExit
  int signal = 0;     ///< kSignal
  double wall_seconds = 0, cpu_seconds = 0;
  std::uint64_t peak_memory = 0, peak_tasks = 0;  ///< as sampled every few milliseconds
  std::string output, error;                      ///< stdout and stderr of all steps; any bytes
  std::string reason;                             ///< kRefused: why, and what to do

  [[nodiscard]] bool ok() const noexcept { return verdict == Verdict::kOk; }
};
[[nodiscard]] Json outcome_json(const Outcome& outcome);

/// The head and the tail of a text of more than `limit` bytes, with what was left out between them.
[[nodiscard]] std::string head_and_tail(std::string_view text, std::size_t limit);

/// Thread-safe. bubblewrap is $LANCET_BWRAP, else `bwrap` of PATH.
class Sandbox {
 public:
  /// Error(kUsage) for a limit of zero or beyond reason.
  explicit Sandbox(SandboxLimits limits = {});
  [[nodiscard]] const SandboxLimits& limits() const noexcept { return limits_; }
  /// Error(kUsage) for a program without steps or with a file name that is a path.
  [[nodiscard]] Outcome run(const Program& program) const;
  /// The same for many, on the threads of core/parallel; outcomes in the order of the programs.
  [[nodiscard]] std::vector<Outcome> run_all(const std::vector<Program>& programs) const;
  /// Error(kResource) with the reason where nothing can be run here.
  void check() const;

 private:
  SandboxLimits limits_;
};

}  // namespace lancet
