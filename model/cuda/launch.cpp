#include "model/cuda/launch.h"

#include <atomic>
#include <string>

#include <dlfcn.h>

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "core/error.h"
#include "model/cuda/twins.h"

namespace lancet::fused {
namespace {

std::atomic<int> twins_alive{0};

template <class Function>
bool find(const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  return out != nullptr;
}

/// All of liblancet_cuda's, or null. It was opened for all of the process, hence no handle.
const Kernels* device_kernels() {
  static const Kernels* const found = []() -> const Kernels* {
    static Kernels all;
    const bool complete = find("lancet_cuda_rms_norm", all.rms_norm) &&
                          find("lancet_cuda_rms_norm_backward", all.rms_norm_backward) &&
                          find("lancet_cuda_rotate", all.rotate) &&
                          find("lancet_cuda_swiglu", all.swiglu) &&
                          find("lancet_cuda_swiglu_backward", all.swiglu_backward) &&
                          find("lancet_cuda_cross_entropy", all.cross_entropy);
    return complete ? &all : nullptr;
  }();
  return found;
}

}  // namespace

const Kernels* kernels_of(const at::Device& device) {
  if (device.is_cuda()) return device_kernels();
  return device.is_cpu() && twins_on_cpu() ? &twins : nullptr;
}

bool has_type(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

Type type_of(const at::Tensor& x) {
  if (!has_type(x.scalar_type()))
    fail(ErrorKind::kInternal, "cuda",
         std::string("expected float32 or bfloat16, found ") + c10::toString(x.scalar_type()));
  return x.scalar_type() == at::kFloat ? Type::kFloat32 : Type::kBFloat16;
}

void check_launch(int error, std::string_view kernel) {
  if (error == 0) return;
  const char* (*text)(int) = nullptr;
  const bool known = find("lancet_cuda_error_text", text);
  fail(ErrorKind::kResource, "cuda",
       "expected kernel " + std::string(kernel) + " to start, found " +
           (known ? text(error) : "error " + std::to_string(error)),
       "use --device cpu");
}

void launch_on(const at::Device& device, std::string_view kernel,
               const std::function<int(void* stream)>& launch) {
  if (kernels_of(device) == nullptr)
    fail(ErrorKind::kInternal, "cuda", "no kernel " + std::string(kernel) + " for " + device.str());
  if (device.is_cpu()) {
    check_launch(launch(nullptr), kernel);
    return;
  }
  const c10::DeviceGuard current(device);
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device);
  check_launch(launch(stream.native_handle()), kernel);
}

TwinsOnCpu::TwinsOnCpu() { ++twins_alive; }
TwinsOnCpu::~TwinsOnCpu() { --twins_alive; }

bool twins_on_cpu() noexcept { return twins_alive.load(std::memory_order_relaxed) > 0; }

}  // namespace lancet::fused
