// lancet_cell: the first process of a sandbox (distill/verify/sandbox.h). It sets limits, runs the
// steps, watches every process of its namespace, and reports. As process 1 it cannot be killed from
// inside, and what it leaves behind ends with it. Linked statically: it runs before any library.
//   lancet_cell REPORT_FD MEMORY TASKS CPU_SECONDS FILE_SIZE (COUNT ARG...)...
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "distill/verify/cell/cell_report.h"
#include "distill/verify/cell/fork_gate.h"

namespace lancet {
namespace {

constexpr long kWatchNanoseconds = 3'000'000;
/// Where the kernel itself refuses: never before the gate has seen too many. Each of the tasks that
/// were counted can have one fork under way that was let through and is not counted yet.
constexpr std::uint64_t hard_tasks(std::uint64_t limit) { return 2 * limit + 16; }
constexpr std::uint64_t kSpareAddressSpace = 16ULL << 30;  // stacks and arenas of threads, unused

struct Limits {
  std::uint64_t memory, tasks, cpu_seconds, file_size;
};

/// What all processes of the namespace but the cell use now.
struct Usage {
  std::uint64_t memory = 0, tasks = 0, cpu_microseconds = 0;
};

/// Reads a small file of /proc whole; false when the process is gone.
bool read_proc(const char* pid, const char* name, char* text, std::size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%.16s/%s", pid, name);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t got = read(fd, text, size - 1);
  close(fd);
  text[got > 0 ? got : 0] = 0;
  return got > 0;
}

/// The number after "key" in /proc/PID/status, or 0.
std::uint64_t status_number(const char* text, const char* key) {
  const char* at = strstr(text, key);
  return at == nullptr ? 0 : strtoull(at + strlen(key), nullptr, 10);
}

void add_process(const char* pid, Usage& usage) {
  char text[4096];
  if (!read_proc(pid, "status", text, sizeof text)) return;
  usage.memory += 1024 * (status_number(text, "\nRssAnon:") + status_number(text, "\nRssShmem:"));
  usage.tasks += status_number(text, "\nThreads:");
  if (!read_proc(pid, "stat", text, sizeof text)) return;
  const char* at = strrchr(text, ')');  // the name before it may hold anything
  if (at == nullptr) return;
  unsigned long long user = 0, system = 0, child_user = 0, child_system = 0;
  if (sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
             &system, &child_user, &child_system) != 4)
    return;
  const auto ticks = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  usage.cpu_microseconds += (user + system + child_user + child_system) * 1'000'000 / ticks;
}

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

/// Processor time of what has ended and been waited for.
std::uint64_t ended_microseconds() {
  rusage ended{};
  getrusage(RUSAGE_CHILDREN, &ended);
  return microseconds(ended.ru_utime) + microseconds(ended.ru_stime);
}

Usage measure() {
  Usage usage{.cpu_microseconds = ended_microseconds()};
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return usage;
  while (const dirent* entry = readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || strcmp(entry->d_name, "1") == 0)
      continue;
    add_process(entry->d_name, usage);
  }
  closedir(proc);
  return usage;
}

bool set_limit(int resource, std::uint64_t soft, std::uint64_t hard) {
  const rlimit limit{.rlim_cur = soft, .rlim_max = hard};
  return setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0;
}

/// For every process from now on. The cell's own processor time is next to nothing.
bool set_limits(const Limits& limits) {
  return set_limit(RLIMIT_CORE, 0, 0) && set_limit(RLIMIT_NOFILE, 256, 256) &&
         set_limit(RLIMIT_FSIZE, limits.file_size, limits.file_size) &&
         set_limit(RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1) &&
         set_limit(RLIMIT_AS, limits.memory + kSpareAddressSpace,
                   limits.memory + kSpareAddressSpace) &&
         set_limit(RLIMIT_NPROC, hard_tasks(limits.tasks), hard_tasks(limits.tasks));
}

void send(int fd, const CellReport& report) {
  if (write(fd, &report, sizeof report) != static_cast<ssize_t>(sizeof report)) _exit(125);
}

/// Ends every process of the namespace but this one, and waits until none is left.
void kill_everything() {
  kill(-1, SIGKILL);
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) continue;
}

/// Should the machine run out of memory before the cell sees why, the kernel takes these first.
void offer_to_oom_killer() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, "1000", 4);
  close(fd);
}

[[noreturn]] void become(char** argv, int report, int gate_socket) {
  signal(SIGCHLD, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  close(report);
  offer_to_oom_killer();
  close_gate_behind(gate_socket);
  execve(argv[0], argv, environ);
  _exit(127);
}

/// The limit that is broken now, or kEnded.
CellEvent broken(const Usage& usage, const Limits& limits) {
  if (usage.tasks > limits.tasks) return CellEvent::kTasks;
  if (usage.memory > limits.memory) return CellEvent::kMemory;
  if (usage.cpu_microseconds > limits.cpu_seconds * 1'000'000) return CellEvent::kCpuTime;
  return CellEvent::kEnded;
}

/// A few milliseconds, or until a process ends or wants to fork. True: one wants to.
bool wait_for_events(int gate) {
  const timespec pause{.tv_sec = 0, .tv_nsec = kWatchNanoseconds};
  pollfd polled{.fd = gate, .events = POLLIN, .revents = 0};  // a negative one is passed over
  sigset_t none;
  sigemptyset(&none);  // SIGCHLD gets through in here, and ends the wait
  return ppoll(&polled, 1, &pause, &none) > 0 && (polled.revents & POLLIN) != 0;
}

/// Runs one step's processes to the end of the first, or to the first broken limit.
void watch(pid_t child, int gate, const Limits& limits, CellReport& report) {
  unsigned long long fork_waits = 0;
  for (;;) {
    const Usage usage = measure();
    const std::uint64_t tasks = usage.tasks + (fork_waits != 0 ? 1 : 0);
    if (usage.memory > report.peak_memory) report.peak_memory = usage.memory;
    if (tasks > report.peak_tasks) report.peak_tasks = static_cast<std::uint32_t>(tasks);
    report.event = broken({usage.memory, tasks, usage.cpu_microseconds}, limits);
    if (report.event != CellEvent::kEnded) return;
    if (fork_waits != 0) allow_fork(gate, fork_waits);
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0 && ended != child) continue;
    if (ended == child) {
      report.status = status;
      return;
    }
    fork_waits = wait_for_events(gate) ? waiting_fork(gate) : 0;
  }
}

CellReport run_step(char** argv, int report_fd, const Limits& limits, CellReport report) {
  const GatePair sockets = make_gate_pair();
  const pid_t child = sockets.cell < 0 ? -1 : fork();
  if (child == 0) become(argv, report_fd, sockets.step);
  if (child < 0) {
    report.event = CellEvent::kCannotStart;
    report.status = errno;
    return report;
  }
  close(sockets.step);  // so that a child that dies early is no endless wait
  const int gate = receive_gate(sockets.cell);
  close(sockets.cell);
  watch(child, gate, limits, report);
  kill_everything();
  if (gate >= 0) close(gate);
  report.cpu_microseconds = ended_microseconds();
  return report;
}

/// The steps one after the other until one is not exit 0.
int run_steps(char** argv, int report_fd, const Limits& limits) {
  CellReport report;
  for (; *argv != nullptr; ++report.step) {
    const long count = strtol(*argv, nullptr, 10);
    char** step = argv + 1;
    argv = step + count;
    char* next = *argv;
    *argv = nullptr;  // ends the arguments of this step
    report = run_step(step, report_fd, limits, report);
    *argv = next;
    send(report_fd, report);
    if (report.event != CellEvent::kEnded || report.status != 0) break;
  }
  return 0;
}

int run(int argc, char** argv) {
  if (argc < 8) return 126;
  const auto number = [argv](int i) { return strtoull(argv[i], nullptr, 10); };
  const int report_fd = static_cast<int>(number(1));
  const Limits limits{number(2), number(3), number(4), number(5)};
  // Not readable through /proc by the code it runs, which has the same user.
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || !set_limits(limits)) return 126;
  signal(SIGCHLD, [](int) {});  // it is there to end waits
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, nullptr);
  send(report_fd, {});
  return run_steps(argv + 6, report_fd, limits);
}

}  // namespace
}  // namespace lancet

int main(int argc, char** argv) { return lancet::run(argc, argv); }
