#pragma once
// Averages over facts by the role of the token (Meng et al. 2022, figures 2 and 3).

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "surgery/locate/prompt.h"

namespace lancet {

struct RoleAverage {
  TokenRole role = TokenRole::kLast;
  std::int64_t facts = 0;  ///< that have a token of this role
  at::Tensor mean;         ///< float64 [layers]; a fact's value is the mean over its tokens
  at::Tensor margin;  ///< half width of the 95 % interval of the mean over facts, 1.96 s/sqrt(n);
                      ///< NaN for one fact
};

/// effects[i]: float64 [tokens, layers] of prompts[i]. Roles that no prompt has are left out.
[[nodiscard]] std::vector<RoleAverage> average_roles(std::span<const LocatePrompt> prompts,
                                                     std::span<const at::Tensor> effects);

}  // namespace lancet
