#pragma once
// Signals: Ctrl-C, SIGTERM and a lost terminal stop the work, a file that shrinks under a mapping
// ends it in words. Long loops call check_interrupted() at least once a second.

namespace lancet {

/// Installs handlers for SIGINT, SIGTERM and (unless it is ignored, as under nohup) SIGHUP; a
/// second signal but SIGHUP ends the process at once. SIGPIPE and SIGXFSZ are ignored: writes fail
/// instead.
void install_interrupt_handlers();
/// From now on a read of a mapped file beyond its end on disk is an error block on stderr, with
/// `json` also on stdout, and exit code 3.
void install_shrunk_file_handler(bool json);
[[nodiscard]] bool interrupted() noexcept;
/// Throws Error(kInterrupted) once a signal has come.
void check_interrupted();
/// What Ctrl-C stopped has stopped, and the program goes on: the next signal is a first one again.
/// False, and nothing forgotten, where it was another signal: SIGTERM means the program.
[[nodiscard]] bool forget_interrupt() noexcept;

}  // namespace lancet
