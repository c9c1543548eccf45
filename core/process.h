#pragma once
// What this run of the program is, for the manifests that it leaves.

#include <string>
#include <vector>

namespace lancet {

/// Remembers the words of the command line, without the program's name. Once, before any thread.
void set_arguments(std::vector<std::string> words);
/// Empty where nothing was set: in a library or a test.
[[nodiscard]] const std::vector<std::string>& arguments();
/// Seconds since the program began.
[[nodiscard]] double process_seconds();

}  // namespace lancet
