#pragma once
// The logit lens (nostalgebraist 2020): the final norm and the head read every state of the
// residual stream as if it were the last one.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "surgery/locate/prompt.h"

namespace lancet {

struct LensToken {
  TokenId id = 0;
  double probability = 0;
};

/// Layer 0 is the embedding, layer l > 0 the state leaving block l - 1.
struct Lens {
  at::Tensor probability;  ///< float64 [tokens, layers + 1]: of the target's first token
  at::Tensor rank;         ///< int64, 1 = first choice
  at::Tensor entropy;      ///< float64, bits
  std::vector<std::vector<std::vector<LensToken>>> top;  ///< [tokens][layers + 1][top]
};

[[nodiscard]] Lens read_lens(const Decoder& model, const LocatePrompt& prompt, std::int64_t top);

}  // namespace lancet
