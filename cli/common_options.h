#pragma once
// The options that every command takes, or every one that runs a model, on its CLI11 application.

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace lancet {

/// Refuses what parse_bytes() does, as the option's error.
[[nodiscard]] CLI::Validator size_validator();

/// Digits that make a number below 2^64: CLI11 alone wraps "-3" and larger ones.
[[nodiscard]] CLI::Validator whole_number();

void declare_common(CLI::App& app, const Command& command, CommonOptions& common);

}  // namespace lancet
