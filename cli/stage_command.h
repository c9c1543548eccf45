#pragma once
// A command of the table run as a stage of a job: its options come from a block of the job file.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace lancet {

class StageCommand {
 public:
  /// `source` names the job file in messages.
  StageCommand(std::string_view command, std::string source);
  ~StageCommand();
  StageCommand(StageCommand&&) noexcept;
  StageCommand& operator=(StageCommand&&) noexcept;

  /// Keys are the command's options with '_' or '-', values as on the command line; `taken` are the
  /// options that the job itself gives. kUsage with line and column for what is unknown or taken.
  void set(const Json& settings, const std::vector<std::string_view>& taken);
  /// Further arguments, positional ones too, not from the block.
  void add(const std::string& argument);
  /// Checks all arguments as the command line would; kUsage with the place in the job file.
  void parse();

  /// Has the command check its settings and the files that they name, without data
  /// (CommonOptions::settings_only); what it refuses is told with the place in the job file.
  /// Returns what the command prints.
  Json check();

  /// Values given for an option, with or without a default of the command; empty when not given.
  [[nodiscard]] std::vector<std::string> values(std::string_view option) const;
  /// All of the block, for the key of the stage: ["--rank=8", ...].
  [[nodiscard]] const std::vector<std::string>& settings() const;

  /// Runs; every JSON line that the command prints but the last goes to `line`. Returns the last.
  [[nodiscard]] Json run(bool force, const CommonOptions& outer,
                         const std::function<void(const Json&)>& line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lancet
