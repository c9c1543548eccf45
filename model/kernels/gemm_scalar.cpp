// Any processor: the same bits as the vector kernels, without vector instructions.

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "model/kernels/exact_fma.h"
#include "model/kernels/gemm_kernels.h"

#define LANCET_KERNEL
#define LANCET_INLINE inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = false;

inline float fma_one(float a, float b, float c) { return exact_fma(a, b, c); }

#include "model/kernels/gemm_scalar.h"

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable kernels_scalar{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels
