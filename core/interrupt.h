#pragma once
// Ctrl-C and SIGTERM. Long loops call check_interrupted() at least once a second.

namespace lancet {

/// Installs handlers for SIGINT and SIGTERM; a second signal ends the process at once. SIGPIPE and
/// SIGXFSZ are ignored: writes fail instead.
void install_interrupt_handlers();
[[nodiscard]] bool interrupted() noexcept;
/// Throws Error(kInterrupted) once a signal has come.
void check_interrupted();

}  // namespace lancet
