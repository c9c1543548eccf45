#include "core/interrupt.h"

#include <atomic>
#include <csignal>

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
  if (g_signals.fetch_add(1, std::memory_order_relaxed) > 0) {
    ::_exit(static_cast<int>(ErrorKind::kInterrupted));
  }
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGINT, &action, nullptr) != 0 || sigaction(SIGTERM, &action, nullptr) != 0) {
    fail(ErrorKind::kInternal, "interrupt", "sigaction failed");
  }
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
