#include "merge/method.h"

#include <algorithm>

namespace lancet {

const Method* find_merge_method(std::string_view name) noexcept {
  const auto methods = merge_method_registry();
  const auto found =
      std::ranges::find_if(methods, [&](const Method* m) { return m->name == name; });
  return found == methods.end() ? nullptr : *found;
}

const MergeParameter* find_parameter(const Method& method, std::string_view name) noexcept {
  const auto found = std::ranges::find(method.parameters, name, &MergeParameter::name);
  return found == method.parameters.end() ? nullptr : &*found;
}

}  // namespace lancet
