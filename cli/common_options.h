#pragma once
// The options that every command takes, on its CLI11 application.

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace lancet {

void declare_common(CLI::App& app, CommonOptions& common);

}  // namespace lancet
