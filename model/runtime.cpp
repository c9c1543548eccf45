#include "model/runtime.h"

#include <atomic>
#include <charconv>

#include <malloc.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "model/buffer_pool.h"

namespace lancet {

namespace {

constexpr int kUsualMaps = 65536;  ///< glibc's own
std::atomic<int> kept_scopes{0};

/// Activations of a few MB come and go with every layer: kept by the allocator, the system need not
/// clear their pages again each time.
void set_thresholds() {
  if (kept_scopes > 0) return;
  ::mallopt(M_MMAP_THRESHOLD, 8 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

}  // namespace

OneThread::OneThread() : before_(at::get_num_threads()) {
  if (before_ != 1) at::set_num_threads(1);
}

OneThread::~OneThread() {
  if (before_ != 1) at::set_num_threads(before_);
}

void init_runtime() {
  set_thresholds();
  install_buffer_pool();
  if (at::get_num_threads() != parallel::threads()) at::set_num_threads(parallel::threads());
}

FreedMemoryKept::FreedMemoryKept() {
  if (kept_scopes++ > 0) return;
  ::mallopt(M_MMAP_MAX, 0);         // from the heap, however large
  ::mallopt(M_TRIM_THRESHOLD, -1);  // never
}

FreedMemoryKept::~FreedMemoryKept() {
  if (--kept_scopes > 0) return;
  ::mallopt(M_MMAP_MAX, kUsualMaps);
  set_thresholds();
  trim_memory();
}

void trim_memory() { ::malloc_trim(0); }

at::Device resolve_device(std::string_view device) {
  if (device == "cpu") return at::kCPU;
  if (device == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  int index = 0;
  if (device.starts_with("cuda:")) {
    const std::string_view digits = device.substr(5);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc() || end != digits.data() + digits.size() || index < 0 || index > 127) {
      fail(ErrorKind::kUsage, "device", "expected cuda:N, found '" + printable(device) + "'");
    }
  } else if (device != "cuda") {
    fail(ErrorKind::kUsage, "device",
         "expected auto, cpu, cuda or cuda:N, found '" + printable(device) + "'");
  }
  const int count = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (index >= count) {
    fail(ErrorKind::kResource, "device",
         "expected a CUDA device " + std::to_string(index) + ", found " + std::to_string(count) +
             " devices",
         "use --device cpu");
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

at::ScalarType resolve_dtype(std::string_view dtype) {
  if (dtype == "auto" || dtype == "float32") return at::kFloat;
  if (dtype == "bfloat16") return at::kBFloat16;
  fail(ErrorKind::kUsage, "dtype",
       "expected auto, float32 or bfloat16, found '" + printable(dtype) + "'",
       dtype == "float16" ? "float16 is for writing; models run in float32 or bfloat16" : "");
}

void for_each_chunk(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  if (count == 1) {
    body(0);
    return;
  }
  parallel::for_each(static_cast<std::size_t>(count), [&](std::size_t i) {
    const OneThread inside;
    body(static_cast<std::int64_t>(i));
  });
}

}  // namespace lancet
