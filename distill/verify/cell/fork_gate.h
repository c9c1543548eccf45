#pragma once
// Every fork, vfork and clone of a sandbox's processes waits until the cell has seen how many tasks
// there are (seccomp user notification, Linux 5.5): the one that would be too many is met for
// certain, however short it lives and however busy the machine is. What the kernel refused by
// RLIMIT_NPROC would not be seen.

namespace lancet {

/// A connected pair of sockets, closed on exec.
struct GatePair {
  int cell = -1, step = -1;
};
[[nodiscard]] GatePair make_gate_pair();

/// In the process that is about to become the step: the gate holds for it and all it starts. Sends
/// the gate's descriptor, or the word that there is none (an older kernel, a gate around lancet
/// itself), through `socket`.
void close_gate_behind(int socket);
/// In the cell: that descriptor, -1 when there is none.
[[nodiscard]] int receive_gate(int socket);

/// A fork that waits: its id, for allow_fork; 0 when none does (any more).
[[nodiscard]] unsigned long long waiting_fork(int gate);
void allow_fork(int gate, unsigned long long id);

}  // namespace lancet
