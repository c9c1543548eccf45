#pragma once
// The door to the fused kernels: who serves a device, and a call in LibTorch's current stream.

#include <functional>
#include <string_view>

#include <ATen/ATen.h>

#include "model/cuda/jobs.h"

namespace lancet::fused {

/// liblancet_cuda's, which is in the process before the engine is (cli/open_engine.cpp), looked up
/// once; or, on the CPU while there is a TwinsOnCpu, the twins. Null: nobody.
[[nodiscard]] const Kernels* kernels_of(const at::Device& device);

/// Whether they take this dtype.
[[nodiscard]] bool has_type(at::ScalarType type);
/// kInternal where they do not.
[[nodiscard]] Type type_of(const at::Tensor& x);

/// kResource where `error`, of a launch of `kernel`, is not 0.
void check_launch(int error, std::string_view kernel);

/// launch(stream) with `device` current; its error as check_launch has it.
void launch_on(const at::Device& device, std::string_view kernel,
               const std::function<int(void* stream)>& launch);

/// Runs one job; kInternal where nobody serves the device.
template <class Job>
void run_job(const at::Device& device, std::string_view kernel,
             int (*Kernels::*function)(const Job*, void*), const Job& job) {
  launch_on(device, kernel,
            [&](void* stream) { return (kernels_of(device)->*function)(&job, stream); });
}

/// While one lives, the CPU takes the way of a GPU in this process: operators of LibTorch instead
/// of our own kernels (is_native is false), and the twins in place of the device's kernels. For
/// tests of that way.
class TwinsOnCpu {
 public:
  TwinsOnCpu();
  ~TwinsOnCpu();
  TwinsOnCpu(const TwinsOnCpu&) = delete;
  TwinsOnCpu& operator=(const TwinsOnCpu&) = delete;
};
[[nodiscard]] bool twins_on_cpu() noexcept;

}  // namespace lancet::fused
