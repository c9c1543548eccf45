#include "core/memory.h"

#include <charconv>
#include <fstream>
#include <string>
#include <string_view>

namespace lancet {
namespace {

/// A line of /proc/self/status like "VmHWM:   12345 kB", in bytes; 0 where there is none.
std::uint64_t status_bytes(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const std::size_t digit = line.find_first_of("0123456789");
    if (!line.starts_with(key) || digit == std::string::npos) continue;
    std::uint64_t kilobytes = 0;
    std::from_chars(line.data() + digit, line.data() + line.size(), kilobytes);
    return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

std::uint64_t resident_memory() { return status_bytes("VmRSS:"); }
std::uint64_t peak_memory() { return status_bytes("VmHWM:"); }

}  // namespace lancet
