#include "core/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace lancet {
namespace {

/// A line of a file of /proc like "VmHWM:   12345 kB", in bytes.
std::optional<std::uint64_t> kilobytes_of(const char* file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t digit = line.find_first_of("0123456789");
    if (!line.starts_with(key) || digit == std::string::npos) continue;
    std::uint64_t kilobytes = 0;
    std::from_chars(line.data() + digit, line.data() + line.size(), kilobytes);
    return kilobytes * 1024;
  }
  return std::nullopt;
}

/// The number that a file holds; the most there is where it holds none ("max").
std::uint64_t limit_in(const std::string& file) {
  std::uint64_t bytes = 0;
  return std::ifstream(file) >> bytes ? bytes : std::numeric_limits<std::uint64_t>::max();
}

/// The least of the process's group and of those it lies in, of version 2 ("0::/path") and 1
/// ("9:memory:/path"); a container sees its own group as the root.
std::uint64_t group_limit() {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const bool second = line.starts_with("0::");
    const std::size_t named = line.find(":memory:");
    if (!second && named == std::string::npos) continue;
    const std::string base = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* const file = second ? "/memory.max" : "/memory.limit_in_bytes";
    std::string path = line.substr(line.rfind(':') + 1);
    for (; path.find('/') != std::string::npos; path.resize(path.rfind('/')))
      least = std::min(least, limit_in(base + path + file));
    least = std::min(least, limit_in(base + file));
  }
  return least;
}

}  // namespace

std::uint64_t resident_memory() { return kilobytes_of("/proc/self/status", "VmRSS:").value_or(0); }
std::uint64_t peak_memory() { return kilobytes_of("/proc/self/status", "VmHWM:").value_or(0); }

std::uint64_t available_memory() {
  constexpr std::uint64_t kUnknown = 4ULL << 30;
  return std::min(kilobytes_of("/proc/meminfo", "MemAvailable:").value_or(kUnknown), group_limit());
}

}  // namespace lancet
