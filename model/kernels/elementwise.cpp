#include "model/kernels/elementwise.h"

#include "model/kernels/elementwise_kernels.h"

namespace lancet::kernels {
namespace {

const ElementwiseTable& table(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return elementwise_avx512;
  if (isa == Isa::kAvx2) return elementwise_avx2;
#endif
  static_cast<void>(isa);
  return elementwise_scalar;
}

}  // namespace

void exp_row(const float* x, float* y, std::int64_t n, Isa isa) { table(isa).exp_row(x, y, n); }

void rms_norm(const RmsNorm& job, Isa isa) { table(isa).rms_norm(job); }

void rms_norm_backward(const RmsNormBackward& job, Isa isa) { table(isa).rms_norm_backward(job); }

void silu_mul(const float* gate, const float* up, float* y, std::int64_t n, Isa isa) {
  table(isa).silu_mul(gate, up, y, n);
}

void silu_mul_backward(const SiluMulBackward& job, Isa isa) { table(isa).silu_mul_backward(job); }

void rope_half(float* x, std::int64_t stride, std::int64_t heads, const float* cos,
               const float* sin, std::int64_t rotary, Isa isa) {
  table(isa).rope_half(x, stride, heads, cos, sin, rotary);
}

void softmax_row(const float* x, float* y, std::int64_t n, Isa isa) {
  table(isa).softmax_row(x, y, n);
}

void softmax_backward(const float* p, float* dp, std::int64_t n, Isa isa) {
  table(isa).softmax_backward(p, dp, n);
}

double log_sum_exp(const float* x, std::int64_t n, Isa isa) { return table(isa).log_sum_exp(x, n); }

void decode_attention(const DecodeAttention& job, Isa isa) { table(isa).decode_attention(job); }

}  // namespace lancet::kernels
