#pragma once
// --plan: what plans tell people of memory and time, and the whole plan of commands that run a
// model and write nothing, or only what the run says.

#include "cli/command.h"

namespace lancet {

/// "about 1.20 GiB", "about 3.0 s"; "not known" of null.
[[nodiscard]] std::string about_bytes(const Json& bytes);
[[nodiscard]] std::string about_seconds(const Json& seconds);

/// "4, 5, 6" of an array.
[[nodiscard]] std::string numbers_text(const Json& numbers);

/// States and logits of a window of text, or of a few prompts.
inline constexpr std::uint64_t kActivations = 150ULL << 20;

/// Prints what running `model` would hold in memory, from its headers: weights, program, and
/// `beside` bytes. Returns the exit code.
[[nodiscard]] int print_run_plan(const fs::path& model, std::uint64_t beside,
                                 const CommonOptions& common);

}  // namespace lancet
