#pragma once
// Notes for people, on stderr. Results go to stdout and never through here.

#include <string_view>

namespace lancet::log {

enum class Level { kQuiet, kNormal, kVerbose };
void set_level(Level level);
[[nodiscard]] Level level() noexcept;

void info(std::string_view message);     ///< shown unless quiet
void verbose(std::string_view message);  ///< shown with --verbose
void warn(std::string_view message);     ///< "warning: ...", shown unless quiet

}  // namespace lancet::log
