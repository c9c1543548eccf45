// Cross-entropy of rows of logits and its gradient in their place: one block a row; the arithmetic
// is in cross_entropy_rows.h.

#include <cuda_runtime.h>

#include "model/cuda/cross_entropy_rows.h"
#include "model/cuda/device_team.cuh"

extern "C" int lancet_cuda_cross_entropy(const lancet::fused::CrossEntropy* job, void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}
