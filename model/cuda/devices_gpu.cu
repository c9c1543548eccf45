// liblancet_cuda: brings LibTorch's CUDA half into the process (by linking it) and says what
// devices there are.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>

/// Number of CUDA devices that can be used, 0 when the driver is missing or too old.
extern "C" int lancet_cuda_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

/// Bytes that are free on device `index`; 0 on success. The device that is current stays so.
extern "C" int lancet_cuda_free_bytes(int index, std::uint64_t* bytes) {
  int before = 0;
  std::size_t free = 0, total = 0;
  if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(index) != cudaSuccess) return 1;
  const bool asked = cudaMemGetInfo(&free, &total) == cudaSuccess;
  *bytes = free;
  return cudaSetDevice(before) == cudaSuccess && asked ? 0 : 1;
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
