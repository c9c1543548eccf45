// Filters on one value: text, numbers, tojson, default.

#include <cmath>

#include "core/text.h"
#include "formats/template/filters.h"
#include "formats/template/methods.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

/// soft_str of Jinja: strings stay as they are (also marked ones), the rest becomes text.
Value soft(Runtime& rt, const Value& value) { return to_string_value(rt, value); }
Value like(Runtime& rt, const Value& text, std::string changed) {
  return rt.string(std::move(changed), text.str().markup);
}

using Change = std::string (*)(std::string_view);
template <Change change>
Value change_case(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "the filter", {});
  const Value text = soft(rt, value);
  rt.touch(text.text().size() * 32);
  return like(rt, text, change(text.text()));
}

/// Capital letters after white space and the marks -({[<, everything else in lower case.
Value title(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "title", {});
  const Value source = soft(rt, value);
  const std::string_view text = source.text();
  rt.touch(text.size() * 32);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const bool separator = [&] {
      std::size_t read = at;
      const char32_t c = next_code_point(text, read);
      return is_space(c) || std::string_view("-({[<").find(text[at]) != std::string_view::npos;
    }();
    at += code_point_bytes(text[at]);
    if (separator) {
      out += text.substr(start, at - start);
      continue;
    }
    const std::size_t rest = at;
    while (at < text.size()) {
      std::size_t read = at;
      if (is_space(next_code_point(text, read)) ||
          std::string_view("-({[<").find(text[at]) != std::string_view::npos)
        break;
      at = read;
    }
    out += to_upper(text.substr(start, rest - start)) + to_lower(text.substr(rest, at - rest));
  }
  return like(rt, source, std::move(out));
}

Value trim(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "trim", {"chars"});
  const Value source = soft(rt, value);
  std::string_view text = source.text();
  rt.touch(text.size());
  if (given.absent(0)) {
    text = strip_left(strip_right(text));
  } else {
    rt.step(text.size() / 64 * (given.text(0, {}).size() / 8 + 1));
    text = strip_left(strip_right(text, given.text(0, {})), given.text(0, {}));
  }
  return like(rt, source, std::string(text));
}

Value replace(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "replace", {"old", "new", "count"}, 2);
  return rt.string(replace_text(rt, to_text(rt, value), to_text(rt, *given[0]),
                                to_text(rt, *given[1]),
                                given.absent(2) ? -1 : given.integer(2, -1)));
}

Value string(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "string", {});
  return soft(rt, value);
}

Value safe(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "safe", {});
  return rt.string(to_text(rt, value), true);
}

Value escape(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "escape", {});
  if (value.is_string() && value.str().markup) return value;
  return rt.string(escape_html(rt, to_text(rt, value)), true);
}

Value forceescape(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "forceescape", {});
  return rt.string(escape_html(rt, to_text(rt, value)), true);
}

Value center(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "center", {"width"});
  const Value text = soft(rt, value);
  return like(rt, text, center_text(rt, text.text(), given.integer(0, 80), " "));
}

Value format(Runtime& rt, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    rt.error("can't handle positional and keyword arguments at the same time");
  }
  Value argument;
  if (arguments.named.empty()) {
    argument = rt.tuple(arguments.positional);
  } else {
    Dict& named = rt.dict();
    for (const auto& [name, item] : arguments.named) named.set(rt, rt.string(name), item);
    argument = Value::object(&named);
  }
  return binary(rt, Operator::kMod, soft(rt, value), argument);
}

Value indent(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "indent", {"width", "first", "blank"});
  if (value.is_undefined()) fail_undefined(rt, value);
  if (!value.is_string()) rt.type_error("indent(): a string is required");
  std::string margin;
  if (given[0] != nullptr && given[0]->is_string()) {
    margin = given.text(0, {});
  } else {
    const auto width = given.integer(0, 4);
    rt.check_size(static_cast<std::uint64_t>(std::max<std::int64_t>(width, 0)));
    margin.assign(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  const bool blank = given.flag(2, false);
  const std::string source = std::string(value.text()) + "\n";
  rt.touch(source.size() * 4);
  std::string out = given.flag(1, false) ? margin : "";
  bool first = true;
  for (const std::string_view line : split_lines(source, false)) {
    rt.touch(margin.size());
    rt.check_size(out.size() + margin.size() + line.size() + 1);
    if (!first) out += "\n";
    if (!first && (blank || !line.empty())) out += margin;
    out += line;
    first = false;
  }
  return like(rt, value, std::move(out));
}

Value truncate(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "truncate", {"length", "killwords", "end", "leeway"});
  const std::int64_t length = given.integer(0, 255);
  const std::string_view end = given.text(2, "...");
  const std::int64_t leeway = given.absent(3) ? 5 : given.integer(3, 5);
  const std::int64_t least = static_cast<std::int64_t>(count_code_points(end));
  if (length < least) rt.error("AssertionError: expected length >= " + std::to_string(least));
  if (leeway < 0) rt.error("AssertionError: expected leeway >= 0");
  const std::int64_t size = length_of(rt, value);
  if (size <= length || size - length <= leeway) return value;
  if (!value.is_string()) rt.type_error("truncate(): a string is required");
  std::string_view text = value.text();
  text = text.substr(0, byte_offset(text, static_cast<std::size_t>(length - least)));
  if (!given.flag(1, false)) text = text.substr(0, text.rfind(' '));
  return like(rt, value, std::string(text) + std::string(end));
}

Value wordcount(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "wordcount", {});
  const Value source = soft(rt, value);
  const std::string_view text = source.text();
  rt.touch(text.size() * 8);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const bool word = is_word(next_code_point(text, at));
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

Value length(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "length", {});
  return Value::integer(length_of(rt, value));
}

Value fallback(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "default", {"default_value", "boolean"});
  if (!value.is_undefined() && (!given.flag(1, false) || truthy(value))) return value;
  return given[0] != nullptr ? *given[0] : rt.string("");
}

Value attr(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "attr", {"name"}, 1);
  if (!given[0]->is_string()) rt.type_error("attribute name must be string");
  return get_attribute(rt, value, *given[0], false);
}

Value absolute(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "abs", {});
  if (value.is(Kind::kFloat)) return Value::real(std::abs(value.as_real()));
  if (!value.is_integral())
    rt.type_error("bad operand type for abs(): '" + std::string(type_name(value)) + "'");
  return value.as_int() < 0 ? negate(rt, value, true) : negate(rt, value, false);
}

Value to_int(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "int", {"default", "base"});
  Value otherwise = given[0] != nullptr ? *given[0] : Value::integer(0);
  if (value.is_undefined()) fail_undefined(rt, value);
  if (value.is_integral()) return Value::integer(value.as_int());
  double number = 0;
  if (value.is_string()) {
    rt.touch(value.text().size());
    const std::int64_t base = given.integer(1, 10);
    if (base != 0 && (base < 2 || base > 36)) return otherwise;
    std::int64_t whole = 0;
    bool too_big = false;
    if (parse_integer(value.text(), static_cast<int>(base), whole, too_big))
      return Value::integer(whole);
    if (too_big) rt.error("OverflowError: integer beyond 64 bits");
    if (!parse_real(value.text(), number) || !std::isfinite(number)) return otherwise;
  } else if (value.is(Kind::kFloat)) {
    number = value.as_real();
    if (std::isinf(number)) rt.error("OverflowError: cannot convert float infinity to integer");
    if (std::isnan(number)) return otherwise;
  } else {
    return otherwise;
  }
  if (std::abs(number) >= 0x1p63) rt.error("OverflowError: integer beyond 64 bits");
  return Value::integer(static_cast<std::int64_t>(number));
}

Value to_float(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "float", {"default"});
  if (value.is_undefined()) fail_undefined(rt, value);
  if (value.is_number()) return Value::real(value.number());
  double number = 0;
  if (value.is_string() && parse_real(value.text(), number)) return Value::real(number);
  return given[0] != nullptr ? *given[0] : Value::real(0);
}

/// Python's round(value, digits): to even on exact ties of the stored double.
double round_to(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < -300) return std::copysign(0.0, value);
  if (digits < 0) {
    const double power = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / power) * power;
  }
  double out = value;
  return parse_real(format_double(value, "", digits, 'f'), out) ? out : value;
}

Value round(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "round", {"precision", "method"});
  const std::string_view method = given.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    rt.error("method must be common, ceil or floor");
  }
  if (!value.is_number())
    rt.type_error("type " + std::string(type_name(value)) + " doesn't define __round__ method");
  const std::int64_t digits = given.integer(0, 0);
  if (method == "common") {
    if (value.is_integral() && digits >= 0) return Value::integer(value.as_int());
    const double rounded = round_to(value.number(), digits);
    return value.is_integral() ? Value::integer(static_cast<std::int64_t>(rounded))
                               : Value::real(rounded);
  }
  const Value power = binary(rt, Operator::kPow, Value::integer(10), Value::integer(digits));
  const double scaled = binary(rt, Operator::kMul, value, power).number();
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return binary(rt, Operator::kDiv, Value::real(whole), power);
}

Value tojson(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "tojson",
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given.flag(0, false);
  style.sort_keys = given.flag(3, false);
  if (!given.absent(1)) {
    style.indented = true;
    style.item_separator = ",";
    if (given[1]->is_string()) {
      style.indent = given.text(1, {});
    } else {
      const std::int64_t width = std::max<std::int64_t>(given.integer(1, 0), 0);
      rt.check_size(static_cast<std::uint64_t>(width));
      style.indent.assign(static_cast<std::size_t>(width), ' ');
    }
  }
  if (!given.absent(2)) {
    const std::vector<Value> pair = collect(rt, *given[2]);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      rt.type_error("tojson(): separators must be two strings");
    }
    style.item_separator = pair[0].text();
    style.key_separator = pair[1].text();
  }
  return rt.string(to_json(rt, value, style));
}

}  // namespace

const std::vector<FilterEntry>& text_filters() {
  static const std::vector<FilterEntry> table = {{"abs", &absolute},
                                                 {"attr", &attr},
                                                 {"capitalize", &change_case<&capitalize>},
                                                 {"center", &center},
                                                 {"count", &length},
                                                 {"d", &fallback},
                                                 {"default", &fallback},
                                                 {"e", &escape},
                                                 {"escape", &escape},
                                                 {"float", &to_float},
                                                 {"forceescape", &forceescape},
                                                 {"format", &format},
                                                 {"indent", &indent},
                                                 {"int", &to_int},
                                                 {"length", &length},
                                                 {"lower", &change_case<&to_lower>},
                                                 {"replace", &replace},
                                                 {"round", &round},
                                                 {"safe", &safe},
                                                 {"string", &string},
                                                 {"title", &title},
                                                 {"tojson", &tojson},
                                                 {"trim", &trim},
                                                 {"truncate", &truncate},
                                                 {"upper", &change_case<&to_upper>},
                                                 {"wordcount", &wordcount}};
  return table;
}

}  // namespace lancet::jinja
