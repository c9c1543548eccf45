#include "formats/adapter/patterns.h"

#include <regex>

namespace lancet {
namespace {

constexpr std::size_t kMaxPattern = 1000;

}  // namespace

bool names_module(const std::string& name, const std::string& module) {
  return name == module || module.ends_with("." + name);
}

bool matches_module(const std::string& expression, const std::string& module) {
  if (expression.size() > kMaxPattern) throw std::regex_error(std::regex_constants::error_space);
  return std::regex_match(module, std::regex(expression));
}

bool pattern_fits(const std::string& key, const std::string& module) {
  return names_module(key, module) || matches_module("(.*\\.)?(" + key + ")", module);
}

}  // namespace lancet
