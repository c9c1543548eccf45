#pragma once
// What pairs.cpp and the files of the instruction sets share.

#include "model/kernels/gemm_kernels.h"

namespace lancet::kernels {

/// The word of two bfloat16, the first in its lower half, in the bits of a float.
inline float join_one(const std::uint16_t* first, const std::uint16_t* second) {
  return std::bit_cast<float>(std::uint32_t{*first} | std::uint32_t{*second} << 16U);
}

extern const KernelTable pairs_scalar;
extern const KernelTable pairs_avx2;
extern const KernelTable pairs_avx512;

}  // namespace lancet::kernels
