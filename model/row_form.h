#pragma once

namespace lancet {

/// What products with matrices make of their rows of float32, on the CPU.
enum class RowForm {
  kPlain,   ///< fused multiply-adds in an order that every processor has (model/kernels/gemm.h)
  kTerms,   ///< as near, in the order of tiles (there, too): several times as fast; needs AMX
  kRounded  ///< rounded to bfloat16 where sums are of even length (model/kernels/pairs.h)
};

}  // namespace lancet
