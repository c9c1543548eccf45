#pragma once
// What code_execution needs of a sandbox: runs a program that nobody trusts, and tells how it
// ended.

#include <string>
#include <string_view>

namespace lancet {

class Runner {
 public:
  struct Result {
    bool passed = false;     ///< exit status 0 within all limits
    std::string kind;        ///< "ok", "exit", "signal", "time", "memory", ...
    int status = 0;          ///< exit status where there is one
    std::string out, error;  ///< what it wrote, cut
  };
  virtual ~Runner() = default;
  /// `language` is "python", "cpp" or "sh". The same program ends the same way each time, or the
  /// recipe's replays differ: programs get no clock, no network and a fixed environment.
  [[nodiscard]] virtual Result run(std::string_view language, const std::string& program) const = 0;
};

}  // namespace lancet
