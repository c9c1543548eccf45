#pragma once
// Memory of this process, as the system counts it (mapped pages of files, too).

#include <cstdint>

namespace lancet {

/// Bytes that lie in memory now, and the most that ever did. Not getrusage's: that begins with what
/// the parent held.
[[nodiscard]] std::uint64_t resident_memory();
[[nodiscard]] std::uint64_t peak_memory();

}  // namespace lancet
