#pragma once
// One command = one file in cli/commands/, ending in its descriptor `const Command command_NAME`.

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/requests.h"

namespace CLI {
class App;
}

namespace lancet {

/// Options that every command takes (docs/cli.md §1); some of `runtime` those that run a model.
struct CommonOptions {
  bool json = false, plan = false, force = false, quiet = false, verbose = false,
       no_progress = false;
  /// For a stage whose data an earlier one has yet to make: settings and the files that they name
  /// are checked, no data is read, nothing is written.
  bool settings_only = false;
  std::string memory = "1GiB";
  std::vector<std::string> idle;  ///< warnings of options that were given and change nothing
  RuntimeOptions runtime;
};

inline constexpr std::string_view kComputation = "of the computation";
inline constexpr std::string_view kWritten = "of what is written";

struct Command {
  std::string_view name;
  std::string_view
      group;  ///< heading in `lancet --help`: "Checkpoints", "Running a model", "Surgery", ...
  std::string_view summary;   ///< one line
  std::string_view examples;  ///< two worked examples, shown at the end of --help
  bool runs_model = false;    ///< takes --offload and --activations, too
  std::string_view dtype;     ///< what --dtype is of; empty: of nothing, which is warned of
  std::string_view memory;    ///< what --memory says; empty: no bound is kept, a warning
  /// Declares options on `app` and returns what runs after parsing (its result is the exit code).
  std::function<int()> (*declare)(CLI::App& app, const CommonOptions& common);
};

[[nodiscard]] std::span<const Command* const> command_registry();

}  // namespace lancet
