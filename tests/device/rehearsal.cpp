#include "tests/device/rehearsal.h"

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

namespace lancet::test {
namespace {

constexpr at::DeviceType kType = at::kPrivateUse1;
constexpr at::DeviceIndex kDevices = 2;

thread_local at::DeviceIndex current = 0;

/// Blocks of device memory: an address that nothing may touch, and the bytes behind it.
class Memory : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    const at::Device device(kType, current);
    if (bytes == 0) return {nullptr, device};
    void* const place =
        ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TORCH_CHECK(place != MAP_FAILED, "no address space left");
    const std::lock_guard lock(mutex_);
    // Garbage, as what lies in a GPU's memory is: values that were never written are seen.
    blocks_[place] = {std::vector<std::uint8_t>(bytes, 0xff), device.index()};
    bytes_[static_cast<std::size_t>(device.index())] += bytes;
    return {place, place, &Memory::release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Memory::release; }
  void copy_data(void*, const void*, std::size_t) const override {
    TORCH_CHECK(false, "host code copied device memory");
  }

  [[nodiscard]] void* bytes_of(const void* place) {
    const std::lock_guard lock(mutex_);
    return blocks_.at(place).bytes.data();
  }
  [[nodiscard]] std::size_t bytes(int index) const {
    return bytes_[static_cast<std::size_t>(index)];
  }

 private:
  struct Block {
    std::vector<std::uint8_t> bytes;
    at::DeviceIndex device = 0;
  };
  static void release(void* place);

  std::mutex mutex_;
  std::map<const void*, Block> blocks_;
  std::array<std::atomic<std::size_t>, kDevices> bytes_{};
};

Memory& memory() {
  static auto* const all = new Memory;  // outlives every tensor
  return *all;
}

void Memory::release(void* place) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex_);
  const auto at = all.blocks_.find(place);
  ::munmap(place, at->second.bytes.size());
  all.bytes_[static_cast<std::size_t>(at->second.device)] -= at->second.bytes.size();
  all.blocks_.erase(at);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  [[nodiscard]] at::DeviceType type() const override { return kType; }
  [[nodiscard]] at::Device exchangeDevice(at::Device device) const override {
    const at::Device before = getDevice();
    setDevice(device);
    return before;
  }
  [[nodiscard]] at::Device getDevice() const override { return {kType, current}; }
  void setDevice(at::Device device) const override { current = device.index(); }
  void uncheckedSetDevice(at::Device device) const noexcept override { current = device.index(); }
  [[nodiscard]] c10::Stream getStream(at::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    return stream;
  }
  [[nodiscard]] at::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  // Everything is done when it returns.
  void record(void**, const c10::Stream&, at::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  void destroyEvent(void*, at::DeviceIndex) const noexcept override {}
};

struct Hooks final : at::PrivateUse1HooksInterface {
  [[nodiscard]] bool isBuilt() const override { return true; }
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  [[nodiscard]] at::DeviceIndex deviceCount() const override { return kDevices; }
  void setCurrentDevice(at::DeviceIndex device) const override { current = device; }
  [[nodiscard]] at::DeviceIndex getCurrentDevice() const override { return current; }
  [[nodiscard]] const at::Generator& getDefaultGenerator(at::DeviceIndex) const override {
    static const at::Generator generator = at::detail::createCPUGenerator();
    return generator;
  }
};

bool is_ours(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == kType;
}

/// The same values for the CPU's operators, in the same bytes.
at::Tensor on_host(const at::Tensor& tensor) {
  if (!is_ours(tensor) || tensor.numel() == 0 || tensor.storage().nbytes() == 0)
    return is_ours(tensor) ? at::empty_strided(tensor.sizes(), tensor.strides(),
                                               tensor.options().device(at::kCPU))
                           : tensor;
  auto* base = static_cast<std::uint8_t*>(memory().bytes_of(tensor.storage().data()));
  const auto skipped = static_cast<std::size_t>(tensor.storage_offset()) * tensor.itemsize();
  return at::from_blob(base + skipped, tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, &memory(),
                                   c10::DispatchKeySet(at::DispatchKey::PrivateUse1),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device> device, std::optional<bool>) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(size, stride, &memory(),
                                           c10::DispatchKeySet(at::DispatchKey::PrivateUse1),
                                           dtype.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_host(to).copy_(on_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes()) {
    const at::Tensor fresh = at::empty(from.sizes(), to.options());
    to.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
    to.unsafeGetTensorImpl()->set_sizes_contiguous(from.sizes());
  }
  return copy_from(from, to, false);
}

/// Any other operator: on the CPU, where all tensors are of one device. Numbers (tensors without
/// dimensions) may come from the CPU, as on a GPU.
void on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::size_t count = op.schema().arguments().size();
  std::optional<at::Device> device;
  const auto look = [&](const at::Tensor& tensor) {
    if (!tensor.defined() || (tensor.device().is_cpu() && tensor.dim() == 0)) return;
    if (!device) device = tensor.device();
    TORCH_CHECK(*device == tensor.device(), op.schema().name(),
                ": expected all tensors on one device, found ", *device, " and ", tensor.device());
  };
  for (std::size_t i = stack->size() - count; i < stack->size(); ++i) {
    const c10::IValue& argument = (*stack)[i];
    if (argument.isTensor()) look(argument.toTensor());
    if (argument.isTensorList())
      for (const at::Tensor& each : argument.toTensorVector()) look(each);
    if (argument.isOptionalTensorList())
      for (const std::optional<at::Tensor>& each : argument.toOptionalTensorVector())
        if (each) look(*each);
  }
  const c10::OptionalDeviceGuard guard(device && device->type() == kType ? device : std::nullopt);
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

}  // namespace

at::Device rehearsal_device(int index) {
  [[maybe_unused]] static const bool registered = [] {
    static Hooks hooks;
    c10::register_privateuse1_backend("rehearsal");
    at::RegisterPrivateUse1HooksInterface(&hooks);
    return true;
  }();
  return {kType, static_cast<at::DeviceIndex>(index)};
}

std::size_t rehearsal_bytes(int index) { return memory().bytes(index); }

}  // namespace lancet::test
