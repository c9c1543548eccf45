#pragma once
// What the fused kernels of training are asked for: plain structs that both sides of the door to
// liblancet_cuda know, and the functions behind it. No LibTorch and no CUDA here.
//
// All pointers are of one device; strides and sizes in elements. A function returns 0, or the
// CUDA error of its launch; it runs in `stream` (a cudaStream_t) and does not wait.

#include <cstdint>

namespace lancet::fused {

enum class Type : std::int32_t { kFloat32, kBFloat16 };

/// y[rows, d] = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps), rows contiguous.
struct RmsNorm {
  const void* x = nullptr;
  const void* weight = nullptr;  ///< [d], with any offset already added
  void* y = nullptr;
  std::int64_t rows = 0, d = 0;
  float eps = 0;
  Type type = Type::kFloat32;         ///< of x and y
  Type weight_type = Type::kFloat32;  ///< `type`, or float32
  /// false: x * rstd is rounded to `type` before the weight multiplies it (NormSpec).
  bool scale_before_cast = false;
};

/// With g = dy * weight: dx = rstd * (g - x * rstd^2 * mean(g * x)) + plus. dx may be dy or plus.
struct RmsNormBackward {
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* dy = nullptr;
  const void* plus = nullptr;  ///< the gradient of the stream beside the norm, or null
  void* dx = nullptr;
  std::int64_t rows = 0, d = 0;
  float eps = 0;
  Type type = Type::kFloat32;
  Type weight_type = Type::kFloat32;
};

/// Turns pairs of the first `dims` elements of every head by the angle of the row's position:
///   (a, b) -> (a cos - b sin, b cos + a sin); `inverse` by minus the angle, which is its gradient.
/// x and y [rows, heads, d_head], heads without a gap; y may be x.
struct Rotation {
  const void* x = nullptr;
  void* y = nullptr;
  std::int64_t ldx = 0, ldy = 0;            ///< from row to row
  const float* cos = nullptr;               ///< [positions, dims / 2]
  const float* sin = nullptr;               ///< [positions, dims / 2]
  const std::int64_t* positions = nullptr;  ///< [rows]
  std::int64_t rows = 0, heads = 0, d_head = 0, dims = 0;
  bool interleaved = false;  ///< pairs (2i, 2i + 1) instead of (i, i + dims / 2)
  bool inverse = false;
  Type type = Type::kFloat32;
};

/// y[rows, d] = gate / (1 + exp(-gate)) * up.
struct Swiglu {
  const void* gate = nullptr;
  const void* up = nullptr;
  void* y = nullptr;
  std::int64_t ld_gate = 0, ld_up = 0;  ///< from row to row; y has no gaps
  std::int64_t rows = 0, d = 0;
  Type type = Type::kFloat32;
};

/// With s = 1 / (1 + exp(-gate)): d_up = dy * gate * s, d_gate = dy * up * s * (1 + gate * (1 -
/// s)). dy, d_gate and d_up have no gaps between rows.
struct SwigluBackward {
  const void* gate = nullptr;
  const void* up = nullptr;
  const void* dy = nullptr;
  void* d_gate = nullptr;
  void* d_up = nullptr;
  std::int64_t ld_gate = 0, ld_up = 0;
  std::int64_t rows = 0, d = 0;
  Type type = Type::kFloat32;
};

/// Of a row x of logits, z = cap * tanh(scale * x / cap), or scale * x without a cap, and the
/// lowest float where the id is masked:
///   loss = logsumexp(z) - z[target],  dx_j = weight * (softmax(z)_j - [j = target]) * dz_j/dx_j
struct CrossEntropy {
  void* logits = nullptr;                 ///< [rows, vocab]; with `gradient`, dx takes their place
  const std::int32_t* targets = nullptr;  ///< [rows]; negative: the row has no loss and no gradient
  const float* weights = nullptr;         ///< [rows], of the gradient alone; null: 1
  double* losses = nullptr;               ///< [rows]
  const std::int64_t* masked = nullptr;   ///< [masked_ranges, 2]: first id, one behind the last
  std::int64_t masked_ranges = 0;
  std::int64_t rows = 0, vocab = 0;
  float scale = 1, softcap = 0;
  bool gradient = false;
  Type type = Type::kFloat32;
};

/// What one device offers.
struct Kernels {
  int (*rms_norm)(const RmsNorm*, void* stream);
  int (*rms_norm_backward)(const RmsNormBackward*, void* stream);
  int (*rotate)(const Rotation*, void* stream);
  int (*swiglu)(const Swiglu*, void* stream);
  int (*swiglu_backward)(const SwigluBackward*, void* stream);
  int (*cross_entropy)(const CrossEntropy*, void* stream);
};

}  // namespace lancet::fused
