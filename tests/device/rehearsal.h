#pragma once
// A device that stands in for a GPU where there is none: LibTorch's place for other backends
// (PrivateUse1) with two devices whose memory no host code can read (a pointer to it that is
// followed ends the process, as one to a GPU's memory would). Operators run on the CPU, on copies;
// one that is given tensors of two devices fails, as on a GPU. So code that takes the way of a GPU
// runs here with real numbers.

#include <ATen/ATen.h>

namespace lancet::test {

/// Registers the backend on the first call. index: 0 or 1.
[[nodiscard]] at::Device rehearsal_device(int index = 0);

/// Bytes that live on the device.
[[nodiscard]] std::size_t rehearsal_bytes(int index);

}  // namespace lancet::test
