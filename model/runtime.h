#pragma once
// Devices, dtypes and LibTorch's thread pool.

#include <cstdint>
#include <functional>
#include <string_view>

#include <ATen/ATen.h>

#include "model/requests.h"

namespace lancet {

/// Sets LibTorch's pool from parallel::threads() (the one owner); call once after the engine is
/// opened.
void init_runtime();

/// auto -> CUDA when liblancet_cuda found a device, else CPU. Errors: kUsage (bad spelling),
/// kResource (asked for CUDA where there is none).
[[nodiscard]] at::Device resolve_device(std::string_view device);
[[nodiscard]] at::ScalarType resolve_dtype(std::string_view dtype);

/// LibTorch at one thread in this thread, for as long as the object lives: products and
/// factorisations whose bits must not depend on the thread count. The setting is per thread
/// (OpenMP's and MKL's); LibTorch also remembers the last one for threads yet to come, which the
/// destructor puts right again.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/// While one lives, the allocator keeps what is freed, however large: for loops whose buffers, of
/// many sizes, all come and go; the system would have to clear them each time. Behind the last one
/// it goes back. In the whole process. Where much is kept for long, see model/buffer_pool.h.
class FreedMemoryKept {
 public:
  FreedMemoryKept();
  ~FreedMemoryKept();
  FreedMemoryKept(const FreedMemoryKept&) = delete;
  FreedMemoryKept& operator=(const FreedMemoryKept&) = delete;
};

/// Gives memory that the allocator keeps of earlier activations back to the system: between phases
/// of which each needs much.
void trim_memory();

/// body(i) for i in [0, count) on parallel::threads() pool threads with LibTorch at one thread
/// inside each: results do not depend on the thread count. Autograd works inside (each body owns
/// its graph).
void for_each_chunk(std::int64_t count, const std::function<void(std::int64_t)>& body);

}  // namespace lancet
