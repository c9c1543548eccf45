#pragma once
// How PEFT finds modules by name. Expressions are at most 1000 bytes; one that does not compile
// throws std::regex_error.

#include <string>

namespace lancet {

/// target_modules as a list: the name itself, or its end after a dot.
[[nodiscard]] bool names_module(const std::string& name, const std::string& module);
/// target_modules as a string: the expression matches the whole name.
[[nodiscard]] bool matches_module(const std::string& expression, const std::string& module);
/// Keys of rank_pattern and alpha_pattern: (.*\.)?(KEY) matches the whole name.
[[nodiscard]] bool pattern_fits(const std::string& key, const std::string& module);

}  // namespace lancet
