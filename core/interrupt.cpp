#include "core/interrupt.h"

#include <atomic>
#include <csignal>
#include <string_view>

#include <unistd.h>

#include "core/error.h"

namespace lancet {
namespace {

// A lock-free atomic is safe in a signal handler and, unlike sig_atomic_t, between threads.
std::atomic<int> g_signals{0};
std::atomic<int> g_last{0};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_interrupt(int signal) {
  g_last.store(signal, std::memory_order_relaxed);
  if (signal == SIGHUP) {  // a shell and its terminal both say it: not somebody who cannot wait
    int none = 0;
    g_signals.compare_exchange_strong(none, 1, std::memory_order_relaxed);
  } else if (g_signals.fetch_add(1, std::memory_order_relaxed) > 0) {
    ::_exit(static_cast<int>(ErrorKind::kInterrupted));
  }
}

constexpr std::string_view kShrunk =
    "error: open: expected a file of the size that it had when it was opened, found it shorter (or "
    "its disk failing)\nhint: keep models and data as they are while they are read\n";
constexpr std::string_view kShrunkJson =
    R"-({"error":{"kind":"input","operation":"open","message":"expected a file of the size that it )-"
    R"-(had when it was opened, found it shorter (or its disk failing)","hint":"keep models and data )-"
    R"-(as they are while they are read"}})-"
    "\n";
bool g_json = false;  ///< set before the handler is installed

/// Of several threads that fault, one tells it.
extern "C" void on_shrunk_file(int) {
  static std::atomic_flag told = ATOMIC_FLAG_INIT;
  if (told.test_and_set()) ::pause();
  const auto put = [](int fd, std::string_view text) {
    return ::write(fd, text.data(), text.size()) >= 0;  // there is nobody to tell
  };
  (void)(put(STDERR_FILENO, kShrunk) && g_json && put(STDOUT_FILENO, kShrunkJson));
  ::_exit(static_cast<int>(ErrorKind::kInput));
}

}  // namespace

void install_shrunk_file_handler(bool json) {
  g_json = json;
  struct sigaction action {};
  action.sa_handler = on_shrunk_file;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, nullptr) != 0)
    fail(ErrorKind::kInternal, "interrupt", "sigaction failed");
}

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGINT, &action, nullptr) != 0 || sigaction(SIGTERM, &action, nullptr) != 0) {
    fail(ErrorKind::kInternal, "interrupt", "sigaction failed");
  }
  struct sigaction hangup {};
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, nullptr);
  // A file-size limit and a closed pipe become failed writes with an error of their own instead of
  // a death by signal.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() noexcept { return g_signals.load(std::memory_order_relaxed) > 0; }

bool forget_interrupt() noexcept {
  if (g_last.load(std::memory_order_relaxed) != SIGINT) return false;
  g_signals.store(0, std::memory_order_relaxed);
  return true;
}

void check_interrupted() {
  if (interrupted()) fail(ErrorKind::kInterrupted, "interrupt", "stopped by a signal");
}

}  // namespace lancet
