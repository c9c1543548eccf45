#include "surgery/locate/average.h"

#include <cmath>

namespace lancet {

std::vector<RoleAverage> average_roles(std::span<const LocatePrompt> prompts,
                                       std::span<const at::Tensor> effects) {
  std::vector<RoleAverage> out;
  for (std::size_t r = 0; r < std::size(kRoleNames); ++r) {
    const auto role = static_cast<TokenRole>(r);
    std::vector<at::Tensor> values;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto tokens = role_tokens(prompts[i], role);
      if (tokens.empty()) continue;
      values.push_back(effects[i].index_select(0, at::tensor(tokens, at::kLong)).mean(0));
    }
    if (values.empty()) continue;
    const at::Tensor all = at::stack(values);
    const auto count = static_cast<std::int64_t>(values.size());
    const at::Tensor deviation =
        count > 1 ? all.std(0, true) : at::full({all.size(1)}, std::nan(""), at::kDouble);
    out.push_back(
        {role, count, all.mean(0), deviation * (1.96 / std::sqrt(static_cast<double>(count)))});
  }
  return out;
}

}  // namespace lancet
