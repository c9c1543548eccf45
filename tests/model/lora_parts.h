#pragma once
// Low-rank parts with random values, for the tests of model/.

#include <memory>

#include "model/linear.h"
#include "model/lora.h"

namespace lancet::test {

[[nodiscard]] at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed);

/// Of `layer`, with masks where `dropout` is not 0.
[[nodiscard]] std::shared_ptr<LowRank> random_part(const Linear& layer, std::int64_t rank,
                                                   double dropout, std::uint64_t seed);

}  // namespace lancet::test
