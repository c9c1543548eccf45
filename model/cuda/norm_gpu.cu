// RMS norm and its gradient: one block a row; the arithmetic is in norm_rows.h.

#include <cuda_runtime.h>

#include "model/cuda/device_team.cuh"
#include "model/cuda/norm_rows.h"

extern "C" int lancet_cuda_rms_norm(const lancet::fused::RmsNorm* job, void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}

extern "C" int lancet_cuda_rms_norm_backward(const lancet::fused::RmsNormBackward* job,
                                             void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}
