// Typed access to members and writing, of core/json.h.

#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

namespace lancet {
namespace {

/// The member, or null when it is absent or null. Throws if `object` is not an object.
const Json* find_member(const Json& object, std::string_view key, std::string_view where) {
  if (!object.is_object()) {
    fail(ErrorKind::kInput, "json",
         fmt::format("{}: expected an object with '{}', found {}", where, key, object.type_name()));
  }
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json& need_member(const Json& object, std::string_view key, std::string_view where) {
  const Json* member = find_member(object, key, where);
  if (member == nullptr) {
    fail(ErrorKind::kInput, "json", fmt::format("{}: '{}' is missing", where, printable(key)));
  }
  return *member;
}

[[noreturn]] void fail_type(const Json& found, std::string_view key, std::string_view where,
                            std::string_view expected) {
  fail(ErrorKind::kInput, "json",
       fmt::format("{}: '{}' must be {}, found {}", where, printable(key), expected,
                   printable(dump_json(found))));
}

std::int64_t to_int(const Json& value, std::string_view key, std::string_view where) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return static_cast<std::int64_t>(number);
    }
  } else if (value.is_number_integer()) {
    return value.get<std::int64_t>();
  } else if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::trunc(number) == number && std::abs(number) <= kExact) {
      return static_cast<std::int64_t>(number);
    }
  }
  fail_type(value, key, where, "an integer");
}

const std::string& to_string(const Json& value, std::string_view key, std::string_view where) {
  if (!value.is_string()) fail_type(value, key, where, "a string");
  return value.get_ref<const std::string&>();
}

}  // namespace

std::int64_t json_int(const Json& object, std::string_view key, std::string_view where) {
  return to_int(need_member(object, key, where), key, where);
}

std::int64_t json_int(const Json& object, std::string_view key, std::string_view where,
                      std::int64_t fallback) {
  const Json* member = find_member(object, key, where);
  return member == nullptr ? fallback : to_int(*member, key, where);
}

double json_number(const Json& object, std::string_view key, std::string_view where,
                   double fallback) {
  const Json* member = find_member(object, key, where);
  if (member == nullptr) return fallback;
  if (!member->is_number()) fail_type(*member, key, where, "a number");
  return member->get<double>();
}

bool json_bool(const Json& object, std::string_view key, std::string_view where, bool fallback) {
  const Json* member = find_member(object, key, where);
  if (member == nullptr) return fallback;
  if (!member->is_boolean()) fail_type(*member, key, where, "true or false");
  return member->get<bool>();
}

std::string json_string(const Json& object, std::string_view key, std::string_view where) {
  return to_string(need_member(object, key, where), key, where);
}

std::string json_string(const Json& object, std::string_view key, std::string_view where,
                        std::string fallback) {
  const Json* member = find_member(object, key, where);
  if (member != nullptr) return to_string(*member, key, where);
  return fallback;
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lancet
