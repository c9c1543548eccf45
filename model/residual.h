#pragma once
// The residual stream: what is added to it, and its norm beside it. On the CPU in float32 without
// LibTorch's pool of threads, whose members wait in a loop after every operator while ours want the
// processors.

#include <ATen/Tensor.h>

#include "model/derived.h"
#include "model/norm.h"

namespace lancet {

/// stream + update, of one shape. Differentiable with respect to both.
[[nodiscard]] at::Tensor add_to_stream(const at::Tensor& stream, const at::Tensor& update);

/// A stream that goes on and its norm. `stream` is the argument; taken from here, its gradient and
/// the norm's are one pass over memory.
struct Branch {
  at::Tensor stream;
  Derived normed;
};
/// apply_norm(norm, stream), or the stream itself where there is no norm (weight undefined).
[[nodiscard]] Branch branch_off(const Norm& norm, const at::Tensor& stream);

}  // namespace lancet
