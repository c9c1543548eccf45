// silu(gate) * up and its gradient: one block a row; the arithmetic is in swiglu_rows.h.

#include <cuda_runtime.h>

#include "model/cuda/device_team.cuh"
#include "model/cuda/swiglu_rows.h"

extern "C" int lancet_cuda_swiglu(const lancet::fused::Swiglu* job, void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}

extern "C" int lancet_cuda_swiglu_backward(const lancet::fused::SwigluBackward* job, void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}
