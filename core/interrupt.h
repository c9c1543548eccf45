#pragma once
// Ctrl-C and SIGTERM. Long loops call check_interrupted() at least once a second.

namespace lancet {

/// Installs handlers for SIGINT and SIGTERM; a second signal ends the process at once. SIGPIPE and
/// SIGXFSZ are ignored: writes fail instead.
void install_interrupt_handlers();
[[nodiscard]] bool interrupted() noexcept;
/// Throws Error(kInterrupted) once a signal has come.
void check_interrupted();
/// What Ctrl-C stopped has stopped, and the program goes on: the next signal is a first one again.
/// False, and nothing forgotten, where it was another signal: SIGTERM means the program.
[[nodiscard]] bool forget_interrupt() noexcept;

}  // namespace lancet
