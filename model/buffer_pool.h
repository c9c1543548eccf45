#pragma once
// Where the buffers of large tensors on the CPU come from while a model is trained: its steps need
// the same ones again, and keep many of them for long. The system would clear their pages each
// time, and a heap that keeps them (FreedMemoryKept, model/runtime.h) cuts what is freed into
// pieces between kept ones that fit nobody: a step took half as much memory again.

#include <cstdint>

namespace lancet {

/// Takes LibTorch's buffers on the CPU into its charge, once.
void install_buffer_pool();

/// While one lives, buffers of 256 KiB and more that are freed are kept for the next ones of about
/// the same size; hardly more in all than were once in use at a time. Behind the last one they go
/// back to the system. In the whole process.
class BuffersKept {
 public:
  BuffersKept();
  ~BuffersKept();
  BuffersKept(const BuffersKept&) = delete;
  BuffersKept& operator=(const BuffersKept&) = delete;
};

struct BufferPoolState {
  std::uint64_t used = 0, idle = 0;  ///< bytes
  std::uint64_t most_used = 0;       ///< since the first of the present scopes began
};
[[nodiscard]] BufferPoolState buffer_pool_state();

}  // namespace lancet
