#pragma once
// The options that every command takes, or every one that runs a model, on its CLI11 application.

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace lancet {

void declare_common(CLI::App& app, const Command& command, CommonOptions& common);

}  // namespace lancet
