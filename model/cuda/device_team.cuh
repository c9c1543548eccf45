#pragma once
// A block of a GPU as the team that works on a row (row_math.h), and the launch of one block a row.

#include <cstdint>

#include "model/cuda/row_math.h"

namespace lancet::fused {

template <int kSize>
class DeviceTeam {
 public:
  static constexpr int kThreads = kSize;

  __device__ explicit DeviceTeam(Two* slots) : slots_(slots) {}

  /// Of shared memory, one for each thread.
  __device__ Two* slots() const { return slots_; }
  __device__ void barrier() const { __syncthreads(); }
  template <class Body>
  __device__ void each(const Body& body) const {
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
  }

 private:
  Two* slots_;
};

template <class C, class Job>
__global__ void __launch_bounds__(C::kThreads) row_kernel(const Job job) {
  __shared__ Two slots[C::kThreads];
  DeviceTeam<C::kThreads> team(slots);
  run_row(C{}, team, job, static_cast<std::int64_t>(blockIdx.x));
}

/// Starts a block for every row of the job; the CUDA error of the launch.
template <class Job>
int launch_rows(const Job& job, void* stream) {
  if (job.rows == 0) return cudaSuccess;
  return choose(job, [&](auto choice) {
    using C = decltype(choice);
    const dim3 blocks(static_cast<unsigned>(job.rows));
    row_kernel<C><<<blocks, C::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(job);
    return static_cast<int>(cudaGetLastError());
  });
}

}  // namespace lancet::fused
