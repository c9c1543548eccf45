#include "core/bytes.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 7> kBinaryUnits{"B",   "KiB", "MiB", "GiB",
                                                       "TiB", "PiB", "EiB"};

[[noreturn]] void fail_size(std::string_view text) {
  fail(ErrorKind::kUsage, "size",
       fmt::format("expected a size such as 2GiB, found '{}'", printable(text)),
       "units: B, kB MB GB TB (powers of 1000), KiB MiB GiB TiB or K M G T (powers of 1024)");
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Bytes in one unit: "" and "b" are 1, "k" and "kib" 1024, "kb" 1000; 0 when unknown.
std::uint64_t unit_size(std::string_view unit) {
  if (unit.empty() || (unit.size() == 1 && lower(unit[0]) == 'b')) return 1;
  const std::size_t power = std::string_view("kmgtpe").find(lower(unit[0]));
  if (power == std::string_view::npos) return 0;
  std::uint64_t base = 0;
  if (unit.size() == 1) base = 1024;
  if (unit.size() == 2 && lower(unit[1]) == 'b') base = 1000;
  if (unit.size() == 3 && lower(unit[1]) == 'i' && lower(unit[2]) == 'b') base = 1024;
  std::uint64_t size = base;
  for (std::size_t i = 0; i < power; ++i) size *= base;
  return size;
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.995 && unit + 1 < kBinaryUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.2f} {}", value, kBinaryUnits[unit]);
}

std::uint64_t parse_bytes(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t end = 0;
  while (end < text.size() && is_digit(text[end])) ++end;
  std::uint64_t whole = 0;
  if (end == 0 || std::from_chars(text.data(), text.data() + end, whole).ec != std::errc{}) {
    fail_size(text);
  }
  double fraction = 0;
  if (end < text.size() && text[end] == '.') {
    const std::size_t point = end++;
    while (end < text.size() && is_digit(text[end])) ++end;
    if (end == point + 1) fail_size(text);
    std::from_chars(text.data() + point, text.data() + end, fraction);
  }
  std::string_view unit = text.substr(end);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const std::uint64_t size = unit_size(unit);
  const auto product = checked_mul(whole, size);
  if (size == 0 || !product) fail_size(text);
  const auto part = static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(size)));
  const auto sum = checked_add(*product, part);
  if (!sum || *sum == 0) fail_size(text);
  return *sum;
}

}  // namespace lancet
