#pragma once
// Values as text: Python's str() and repr(), json.dumps, % and str.format.

#include <string>
#include <string_view>

#include "formats/template/runtime.h"

namespace lancet::jinja {

/// str(value): what `{{ value }}` prints. Undefined is "".
[[nodiscard]] std::string to_text(Runtime& rt, const Value& value);
/// The text of a string itself, str(value) of everything else.
[[nodiscard]] Value to_string_value(Runtime& rt, const Value& value);
/// repr(value).
[[nodiscard]] std::string repr(Runtime& rt, const Value& value);
/// repr of a float: the shortest digits that read back the same.
[[nodiscard]] std::string repr_float(double value);
[[nodiscard]] std::string repr_text(std::string_view text);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  ///< one level's
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// json.dumps(value); throws kInput for what JSON cannot hold.
[[nodiscard]] std::string to_json(Runtime& rt, const Value& value, const JsonStyle& style);

/// format % argument.
[[nodiscard]] std::string format_percent(Runtime& rt, std::string_view format,
                                         const Value& argument);
/// format.format(...).
[[nodiscard]] std::string format_braces(Runtime& rt, std::string_view format,
                                        const Arguments& arguments);
/// strftime of `seconds` since 1970 in the zone of the machine (TZ), names in English.
[[nodiscard]] std::string format_time(Runtime& rt, std::string_view format, std::int64_t seconds);
/// One number in C's format: `flags` of "+ ", `type` of "eEfFgG"; precision -1 is 6, at most 1000.
[[nodiscard]] std::string format_double(double value, std::string_view flags,
                                        std::int64_t precision, char type);

/// int(text, base) and float(text) of Python; nothing where they raise ValueError.
[[nodiscard]] bool parse_integer(std::string_view text, int base, std::int64_t& out, bool& too_big);
[[nodiscard]] bool parse_real(std::string_view text, double& out);

/// & < > ' " replaced as markupsafe does.
[[nodiscard]] std::string escape_html(Runtime& rt, std::string_view text);

}  // namespace lancet::jinja
