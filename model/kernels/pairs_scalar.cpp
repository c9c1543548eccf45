// Any processor: the same bits as the vector kernels, without vector instructions.

#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "model/kernels/exact_fma.h"
#include "model/kernels/pairs_kernels.h"

#define LANCET_KERNEL
#define LANCET_INLINE inline

namespace lancet::kernels {
namespace {

constexpr bool kPairs = true;

inline float fma_one(float a, float b, float c) {
  const auto high = [](float w) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(w) & 0xffff0000U);
  };
  const auto low = [](float w) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(w) << 16U);
  };
  return exact_fma(low(a), low(b), exact_fma(high(a), high(b), c));
}

#include "model/kernels/gemm_scalar.h"

inline V join(const std::uint16_t* p, const std::uint16_t* q) {
  return {{join_one(p, q), join_one(p + 1, q + 1), join_one(p + 2, q + 2), join_one(p + 3, q + 3)}};
}

#include "model/kernels/gemm_body.h"

}  // namespace

const KernelTable pairs_scalar{&linear_few, &linear, &input_grad};

}  // namespace lancet::kernels
