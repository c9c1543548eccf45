#pragma once
// The tables of filters, tests and global functions.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/template/ast.h"

namespace lancet::jinja {

/// Null when there is none of that name.
[[nodiscard]] Filter find_filter(std::string_view name) noexcept;
[[nodiscard]] Test find_test(std::string_view name) noexcept;
/// The message for a name that find_* does not know: unknown to Jinja, or not supported here.
[[nodiscard]] std::string unknown_filter(std::string_view name);
[[nodiscard]] std::string unknown_test(std::string_view name);

/// range, namespace, dict, raise_exception, strftime_now, cycler, joiner.
[[nodiscard]] const std::vector<std::pair<std::string_view, Function::Body>>& global_functions();

using FilterEntry = std::pair<std::string_view, Filter>;
/// The three parts of the filter table, by what they work on.
[[nodiscard]] const std::vector<FilterEntry>& text_filters();
[[nodiscard]] const std::vector<FilterEntry>& sequence_filters();
[[nodiscard]] const std::vector<FilterEntry>& lazy_filters();

/// Jinja's path of an attribute: "a.b.0"; a number is an index; None is the value itself.
[[nodiscard]] std::vector<Value> attribute_path(Runtime& rt, const Value* attribute);
[[nodiscard]] Value follow_path(Runtime& rt, Value value, const std::vector<Value>& path);
/// Strings in lower case, everything else as it is.
[[nodiscard]] Value ignore_case(Runtime& rt, const Value& value);

}  // namespace lancet::jinja
