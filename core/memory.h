#pragma once
// Memory of this process, as the system counts it (mapped pages of files, too), and of the machine.

#include <cstdint>

namespace lancet {

/// Bytes that lie in memory now, and the most that ever did. Not getrusage's: that begins with what
/// the parent held.
[[nodiscard]] std::uint64_t resident_memory();
[[nodiscard]] std::uint64_t peak_memory();

/// Bytes that a process could still take without driving others out (4 GiB where the system does
/// not say), or the limit of its control group where that is less.
[[nodiscard]] std::uint64_t available_memory();

}  // namespace lancet
