#include "formats/tokenizer/where.h"

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {
namespace {

constexpr int kDepthLimit = 16;

const Json* find(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

Where Where::component(std::string_view name, std::size_t index) const {
  Where inner = key(fmt::format("{}[{}]", name, index));
  inner.depth = depth + 1;
  if (inner.depth > kDepthLimit) {
    fail_input(fmt::format("components are nested deeper than {} levels", kDepthLimit));
  }
  return inner;
}

void Where::fail_input(std::string_view message) const {
  fail(ErrorKind::kInput, "tokenizer", fmt::format("{}: {}", printable(text(), 300), message));
}

void Where::fail_unsupported(std::string_view stage, std::string_view type) const {
  fail(ErrorKind::kMismatch, "tokenizer",
       fmt::format("{}: the {} '{}' is not supported", printable(text(), 300), stage,
                   printable(type)));
}

const Json& Where::member(const Json& object, std::string_view name) const {
  if (!object.is_object())
    fail_input(fmt::format("expected an object, found {}", object.type_name()));
  const Json* found = find(object, name);
  if (found == nullptr) fail_input(fmt::format("expected the key '{}', found none", name));
  return *found;
}

const Json::array_t& Where::array(const Json& object, std::string_view name) const {
  const Json& value = member(object, name);
  if (!value.is_array()) {
    key(name).fail_input(fmt::format("expected an array, found {}", value.type_name()));
  }
  return value.get_ref<const Json::array_t&>();
}

std::string Where::string(const Json& object, std::string_view name) const {
  const Json& value = member(object, name);
  if (!value.is_string()) {
    key(name).fail_input(fmt::format("expected a string, found {}", value.type_name()));
  }
  return value.get<std::string>();
}

std::string Where::string(const Json& object, std::string_view name,
                          std::string_view fallback) const {
  const Json* value = find(object, name);
  return value == nullptr || value->is_null() ? std::string(fallback) : string(object, name);
}

bool Where::boolean(const Json& object, std::string_view name, bool fallback) const {
  const Json* value = find(object, name);
  return value == nullptr || value->is_null() ? fallback : boolean(object, name);
}

bool Where::boolean(const Json& object, std::string_view name) const {
  const Json& value = member(object, name);
  if (!value.is_boolean()) {
    key(name).fail_input(fmt::format("expected true or false, found {}", value.type_name()));
  }
  return value.get<bool>();
}

std::int64_t Where::integer(const Json& object, std::string_view name, std::int64_t lowest,
                            std::int64_t highest) const {
  const Json& value = member(object, name);
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(highest)
                        : value.is_number_integer() && value.get<std::int64_t>() <= highest;
  if (!fits || value.get<std::int64_t>() < lowest) {
    key(name).fail_input(fmt::format("expected an integer from {} to {}, found {}", lowest, highest,
                                     printable(dump_json(value), 60)));
  }
  return value.get<std::int64_t>();
}

std::optional<std::int32_t> as_token_id(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT32_MAX) return std::nullopt;
  const auto id = value.get<std::int64_t>();
  if (id < 0 || id > INT32_MAX) return std::nullopt;
  return static_cast<std::int32_t>(id);
}

}  // namespace lancet
