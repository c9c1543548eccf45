#pragma once
// Help texts, version, and the names that suggestions and shell completion use.

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "core/json.h"

namespace lancet {

/// "lancet 0.1.0 (commit ...), LibTorch 2.11.0, CPU features ...".
[[nodiscard]] std::string version_text();
/// {"version", "commit", "libtorch", "cuda", "cpu": [...]}: what this build is made for.
[[nodiscard]] Json version_json();

/// The options that may follow `app`: its own, those of its groups, and of a verb such as `adapter
/// merge` those of its command's groups.
[[nodiscard]] std::vector<const CLI::Option*> known_options(const CLI::App& app);
/// Its subcommands that have a name: groups of options have none.
[[nodiscard]] std::vector<const CLI::App*> known_subcommands(const CLI::App& app);
/// Options ("--json") and subcommands that may follow `app`.
[[nodiscard]] std::vector<std::string> known_names(const CLI::App& app);
/// "locate trace": `app` and what it stands under, but for the program; "" for the program.
[[nodiscard]] std::string words_of(const CLI::App& app);

/// Thrown after a command has already printed its JSON and its error: only the exit code is left to
/// give.
struct Reported {
  int exit_code;
};

/// Keeps the line breaks of examples, shows verbs with the options of their command and leaves out
/// options that have no text; otherwise CLI11's own.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  std::string make_footer(const CLI::App* app) const override;
  std::string make_option(const CLI::Option* option, bool positional) const override;
};

}  // namespace lancet
