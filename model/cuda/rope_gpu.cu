// Rotary embeddings and, turned back, their gradient: one block a row; the arithmetic is in
// rope_rows.h.

#include <cuda_runtime.h>

#include "model/cuda/device_team.cuh"
#include "model/cuda/rope_rows.h"

extern "C" int lancet_cuda_rotate(const lancet::fused::Rotation* job, void* stream) {
  return lancet::fused::launch_rows(*job, stream);
}
