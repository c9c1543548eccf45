#pragma once
// Prompts made out of a fact that tell a rewritten fact from a parrot (editing reference 7.2).

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "surgery/requests.h"

namespace lancet {

/// The prompt with "not" behind its first is, are, was, were, has, can or does. A model that says
/// the target here, too, has learnt a string. Nothing where there is no such word.
[[nodiscard]] std::optional<std::string> negated_prompt(const Fact& fact);

/// "Rome is the capital of" and "France" for "The capital of {} is" -> Rome; the question asked the
/// other way round for "Who is {}?" and "{} is". Nothing for other forms.
[[nodiscard]] std::optional<std::pair<std::string, std::string>> reversed_prompt(const Fact& fact);

/// The edited statement, then `prompt`: "The capital of France is Rome. The capital of Spain is".
[[nodiscard]] std::string distracted_prompt(const Fact& fact, const std::string& prompt);

/// Up to `count` prompts of the fact's template about names that do not exist.
[[nodiscard]] std::vector<std::string> unknown_prompts(const Fact& fact, std::int64_t count);

}  // namespace lancet
