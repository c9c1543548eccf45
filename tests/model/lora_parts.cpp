#include "tests/model/lora_parts.h"

namespace lancet::test {

at::Tensor random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({rows, columns}, at::kFloat);
}

std::shared_ptr<LowRank> random_part(const Linear& layer, std::int64_t rank, double dropout,
                                     std::uint64_t seed) {
  auto state = std::make_shared<LoraSwitch>();
  state->draw = dropout > 0 ? 3 : -1;
  auto part = std::make_shared<LowRank>();
  part->module = "part " + std::to_string(seed);
  part->a = random_matrix(rank, layer.d_in(), seed).requires_grad_(true);
  part->b = random_matrix(layer.d_out(), rank, seed + 1).requires_grad_(true);
  part->scale = 0.7;
  part->dropout = dropout;
  part->seed = 5;
  part->state = state;
  return part;
}

}  // namespace lancet::test
