// Typed access to GGUF metadata.

#include <algorithm>
#include <array>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/gguf.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 13> kTypeNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

[[noreturn]] void fail_type(std::string_view key, std::string_view expected,
                            const GgufValue& value) {
  std::string found(gguf_type_name(value.type));
  if (value.type == GgufType::kArray) found += fmt::format(" of {}", gguf_type_name(value.element));
  fail(ErrorKind::kInput, "gguf",
       fmt::format("metadata key '{}': expected {}, found {}", printable(key), expected, found));
}

[[noreturn]] void fail_missing(std::string_view key, std::string_view expected) {
  fail(ErrorKind::kInput, "gguf",
       fmt::format("metadata key '{}': expected {}, found no such key", printable(key), expected));
}

std::int64_t to_signed(std::string_view key, std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("metadata key '{}': expected an integer below 2^63, found {}", printable(key),
                     value));
  }
  return static_cast<std::int64_t>(value);
}

std::int64_t as_integer(std::string_view key, const GgufValue& value) {
  if (const auto* i = std::get_if<std::int64_t>(&value.value)) return *i;
  if (const auto* u = std::get_if<std::uint64_t>(&value.value)) return to_signed(key, *u);
  fail_type(key, "an integer", value);
}

}  // namespace

std::string_view gguf_type_name(GgufType type) noexcept {
  const auto index = static_cast<std::size_t>(type);
  return index < kTypeNames.size() ? kTypeNames[index] : "unknown type";
}

const GgufValue* GgufHeader::find(std::string_view key) const noexcept {
  const auto at = std::ranges::find(
      metadata, key, [](const auto& entry) -> std::string_view { return entry.first; });
  return at == metadata.end() ? nullptr : &at->second;
}

std::int64_t GgufHeader::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) fail_missing(key, "an integer");
  return as_integer(key, *value);
}

std::int64_t GgufHeader::integer(std::string_view key, std::int64_t fallback) const {
  const GgufValue* value = find(key);
  return value == nullptr ? fallback : as_integer(key, *value);
}

double GgufHeader::number(std::string_view key, double fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto* d = std::get_if<double>(&value->value)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&value->value)) return static_cast<double>(*i);
  if (const auto* u = std::get_if<std::uint64_t>(&value->value)) return static_cast<double>(*u);
  fail_type(key, "a number", *value);
}

bool GgufHeader::boolean(std::string_view key, bool fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto* b = std::get_if<bool>(&value->value)) return *b;
  fail_type(key, "bool", *value);
}

std::string GgufHeader::string(std::string_view key) const {
  if (find(key) == nullptr) fail_missing(key, "a string");
  return string(key, {});
}

std::string GgufHeader::string(std::string_view key, std::string fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto* s = std::get_if<std::string>(&value->value)) return *s;
  fail_type(key, "a string", *value);
}

const std::vector<std::string>* GgufHeader::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* list = std::get_if<std::vector<std::string>>(&value->value)) return list;
  fail_type(key, "an array of strings", *value);
}

std::vector<std::int64_t> GgufHeader::integers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value)) return *list;
  const auto* list = std::get_if<std::vector<std::uint64_t>>(&value->value);
  if (list == nullptr || value->element == GgufType::kBool)
    fail_type(key, "an array of integers", *value);
  std::vector<std::int64_t> result(list->size());
  std::ranges::transform(*list, result.begin(), [&](std::uint64_t u) { return to_signed(key, u); });
  return result;
}

std::vector<double> GgufHeader::numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (const auto* list = std::get_if<std::vector<double>>(&value->value)) return *list;
  fail_type(key, "an array of f32 or f64", *value);
}

}  // namespace lancet
