#pragma once
// Prompts of the same template about other subjects: an edit must not change what they answer
// (editing reference 7.2). Subjects of the same type come from share/subjects.json, with invented
// names among them.

#include <cstdint>
#include <string>
#include <vector>

#include "surgery/requests.h"

namespace lancet {

/// `count` (>= 1) prompts. The type is the list that holds the subject, else the one whose words
/// the prompt has; every third subject is an invented name. The fact's own subject and target are
/// never among them.
[[nodiscard]] std::vector<std::string> make_leak_prompts(const Fact& fact, std::int64_t count);

/// Up to `count` invented names of the fact's kind, none of them its own subject or target.
[[nodiscard]] std::vector<std::string> invented_subjects(const Fact& fact, std::int64_t count);

/// Up to `count` other subjects that fit the fact's prompt and that an editor may protect: none of
/// them is ever asked by make_leak_prompts, so that protecting them does not blind the guard.
[[nodiscard]] std::vector<std::string> protected_subjects(const Fact& fact, std::int64_t count);

}  // namespace lancet
