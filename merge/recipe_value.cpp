// Values, gradients and filters of merge/recipe.h.
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "merge/recipe.h"

namespace lancet {

bool filter_matches(std::string_view filter, std::string_view tensor) {
  if (filter == "*") return true;
  if (filter.size() > 2 && filter.front() == '/' && filter.back() == '/') {
    const std::regex expression(std::string(filter.substr(1, filter.size() - 2)));
    return std::regex_search(tensor.begin(), tensor.end(), expression);
  }
  if (filter.find_first_of("*?[") != std::string_view::npos) {
    return ::fnmatch(std::string(filter).c_str(), std::string(tensor).c_str(), 0) == 0;
  }
  return tensor.find(filter) != std::string_view::npos;
}

namespace {

/// Values at 0, 1/(K-1), ... 1, joined by straight lines; or the one before `position`.
double gradient_at(const std::vector<double>& gradient, double position, bool pick) {
  const double scaled = position * static_cast<double>(gradient.size() - 1);
  const auto index = static_cast<std::size_t>(scaled);
  if (pick) return gradient[index];
  const std::size_t next = std::min(gradient.size() - 1, index + 1);
  const double share = scaled - static_cast<double>(index);
  return (1 - share) * gradient[index] + share * gradient[next];
}

}  // namespace

std::optional<double> RecipeValue::at(std::string_view tensor, double position, bool pick) const {
  for (const Condition& condition : conditions) {
    if (condition.filter && !filter_matches(*condition.filter, tensor)) continue;
    if (condition.gradient.size() == 1) return condition.gradient.front();
    return gradient_at(condition.gradient, position, pick);
  }
  return std::nullopt;
}

}  // namespace lancet
