#include "formats/config/gguf_number.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

[[noreturn]] void out_of_range(std::string_view key, std::int64_t least, std::int64_t most,
                               std::int64_t found) {
  fail(ErrorKind::kInput, "gguf",
       fmt::format("metadata '{}': expected a number from {} to {}, found {}", key, least, most,
                   found));
}

}  // namespace

double shortest_decimal(float value) {
  const std::string text = fmt::format("{}", value);
  auto shortest = static_cast<double>(value);
  std::from_chars(text.data(), text.data() + text.size(), shortest);
  return shortest;
}

double gguf_decimal(const GgufHeader& header, std::string_view key, double fallback) {
  const double value = header.number(key, fallback);
  const auto narrow = static_cast<float>(value);
  if (!std::isfinite(value) || value <= 0 || value > std::numeric_limits<float>::max()) {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("metadata '{}': expected a positive number, found {}", key, value));
  }
  return static_cast<double>(narrow) == value ? shortest_decimal(narrow) : value;
}

std::int64_t gguf_integer_in(const GgufHeader& header, std::string_view key, std::int64_t least,
                             std::int64_t most) {
  const std::int64_t value = header.integer(key);
  if (value < least || value > most) out_of_range(key, least, most, value);
  return value;
}

std::optional<std::int64_t> gguf_token_id(const GgufHeader& header, std::string_view key,
                                          std::int64_t vocab) {
  if (header.find(key) == nullptr) return std::nullopt;
  return gguf_integer_in(header, key, 0, vocab - 1);
}

std::int64_t gguf_uniform(const GgufHeader& header, std::string_view key, std::int64_t fallback,
                          std::int64_t most) {
  const GgufValue* value = header.find(key);
  if (value == nullptr) return fallback;
  if (value->type != GgufType::kArray) return gguf_integer_in(header, key, 1, most);
  const auto same = [&](const auto& list) -> std::int64_t {
    if (list.empty() || std::ranges::adjacent_find(list, std::not_equal_to{}) != list.end()) {
      fail(ErrorKind::kMismatch, "gguf",
           fmt::format("metadata '{}': expected one value for all layers", key),
           "models whose layers differ in width are not supported");
    }
    const auto first = static_cast<std::int64_t>(list.front());
    if (first < 1 || first > most) out_of_range(key, 1, most, first);
    return first;
  };
  if (const auto* list = std::get_if<std::vector<std::uint64_t>>(&value->value)) return same(*list);
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value)) return same(*list);
  fail(ErrorKind::kInput, "gguf",
       fmt::format("metadata '{}': expected integers, found another type", key));
}

}  // namespace lancet
