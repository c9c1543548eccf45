#pragma once
// What the first process of a sandbox (cell.cpp) writes into its report pipe: one `ready` when the
// sandbox stands, then one record for each step.

#include <cstdint>

namespace lancet {

enum class CellEvent : std::uint32_t {
  kReady = 0x6c616e63,
  kEnded,       ///< `status` as waitpid gives it
  kMemory,      ///< killed by the cell
  kTasks,       ///< killed by the cell
  kCpuTime,     ///< killed by the cell
  kCannotStart  ///< `status` is the errno of fork or execve
};

struct CellReport {
  CellEvent event = CellEvent::kReady;
  std::uint32_t step = 0;
  std::int32_t status = 0;
  std::uint32_t peak_tasks = 0;
  std::uint64_t peak_memory = 0;       ///< bytes
  std::uint64_t cpu_microseconds = 0;  ///< of all steps so far
};

}  // namespace lancet
