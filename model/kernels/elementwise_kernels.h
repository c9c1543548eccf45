#pragma once
// What elementwise.cpp and the files of the instruction sets share.

#include "model/kernels/elementwise.h"

namespace lancet::kernels {

struct ElementwiseTable {
  void (*exp_row)(const float*, float*, std::int64_t);
  void (*rms_norm)(const RmsNorm&);
  void (*rms_norm_backward)(const RmsNormBackward&);
  void (*silu_mul)(const float*, const float*, float*, std::int64_t);
  void (*silu_mul_backward)(const SiluMulBackward&);
  void (*rope_half)(float*, std::int64_t, std::int64_t, const float*, const float*, std::int64_t);
  void (*softmax_row)(const float*, float*, std::int64_t);
  void (*softmax_backward)(const float*, float*, std::int64_t);
  double (*log_sum_exp)(const float*, std::int64_t);
  void (*decode_attention)(const DecodeAttention&);
};

extern const ElementwiseTable elementwise_scalar;
extern const ElementwiseTable elementwise_avx2;
extern const ElementwiseTable elementwise_avx512;

}  // namespace lancet::kernels
