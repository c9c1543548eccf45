// liblancet_cuda: brings LibTorch's CUDA half into the process (by linking it) and says what
// devices there are.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdio>

/// Number of CUDA devices that can be used, 0 when the driver is missing or too old.
extern "C" int lancet_cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

/// "NVIDIA H200, 139.8 GiB, compute capability 9.0" of device `index` into `text` (cut at `size`);
/// 0 on success.
extern "C" int lancet_cuda_describe(int index, char* text, std::size_t size) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return 1;
  const double gib = static_cast<double>(properties.totalGlobalMem) / (1024.0 * 1024.0 * 1024.0);
  std::snprintf(text, size, "%s, %.1f GiB, compute capability %d.%d", properties.name, gib,
                properties.major, properties.minor);
  return 0;
}

/// What CUDA says about an error that a launch has returned.
extern "C" const char* lancet_cuda_error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
