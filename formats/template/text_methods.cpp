// Methods of str: searching, replacing, case, padding, predicates. Positions count code points.

#include <algorithm>

#include "core/text.h"
#include "formats/template/methods.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

Value same_kind(Runtime& rt, const Value& self, std::string text) {
  return rt.string(std::move(text), self.str().markup);
}

/// text[start:end] for the search methods; `offset` is its first code point. False when start is
/// beyond the end.
bool window(Runtime& rt, const Value& self, const Parameters& given, std::string_view& text,
            std::int64_t& offset) {
  text = self.text();
  if (given[0]->is_string()) touch_search(rt, text, given[0]->text());
  offset = 0;
  if (given.absent(1) && given.absent(2)) return true;
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  std::int64_t from = given.absent(1) ? 0 : given.integer(1, 0);
  std::int64_t to = given.absent(2) ? size : given.integer(2, size);
  if (from < 0) from = std::max<std::int64_t>(from < -size ? 0 : from + size, 0);
  if (to < 0) to = to < -size ? 0 : to + size;
  to = std::min(to, size);
  if (from > to) return false;
  const std::size_t first = byte_offset(text, static_cast<std::size_t>(from));
  text = text.substr(first, byte_offset(text.substr(first), static_cast<std::size_t>(to - from)));
  offset = from;
  return true;
}

std::int64_t search(Runtime& rt, const Value& self, const Arguments& arguments, bool last,
                    std::string_view name) {
  const Parameters given(rt, arguments, name, {"sub", "start", "end"}, 1);
  const std::string_view part = given.text(0, {});
  std::string_view text;
  std::int64_t offset = 0;
  if (!window(rt, self, given, text, offset)) return -1;
  if (last) rt.step(text.size() / 64 * (part.size() / 64 + 1));
  const std::size_t at = last ? text.rfind(part) : find_text(text, part);
  if (at == std::string_view::npos) return -1;
  return offset + static_cast<std::int64_t>(count_code_points(text.substr(0, at)));
}

Value find(Runtime& rt, const Value& self, const Arguments& arguments) {
  return Value::integer(search(rt, self, arguments, false, "find"));
}
Value rfind(Runtime& rt, const Value& self, const Arguments& arguments) {
  return Value::integer(search(rt, self, arguments, true, "rfind"));
}
Value index(Runtime& rt, const Value& self, const Arguments& arguments) {
  const std::int64_t at = search(rt, self, arguments, false, "index");
  if (at < 0) rt.error("ValueError: substring not found");
  return Value::integer(at);
}
Value rindex(Runtime& rt, const Value& self, const Arguments& arguments) {
  const std::int64_t at = search(rt, self, arguments, true, "rindex");
  if (at < 0) rt.error("ValueError: substring not found");
  return Value::integer(at);
}

Value count(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "count", {"sub", "start", "end"}, 1);
  const std::string_view part = given.text(0, {});
  std::string_view text;
  std::int64_t offset = 0;
  if (!window(rt, self, given, text, offset)) return Value::integer(0);
  if (part.empty()) return Value::integer(static_cast<std::int64_t>(count_code_points(text)) + 1);
  std::int64_t found = 0;
  for (std::size_t at = find_text(text, part); at != std::string_view::npos; ++found) {
    at = find_text(text, part, at + part.size());
  }
  return Value::integer(found);
}

Value affix(Runtime& rt, const Value& self, const Arguments& arguments, bool start,
            std::string_view name) {
  const Parameters given(rt, arguments, name, {"prefix", "start", "end"}, 1);
  std::string_view text;
  std::int64_t offset = 0;
  const bool inside = window(rt, self, given, text, offset);
  const auto matches = [&](const Value& part) {
    if (part.is_undefined()) fail_undefined(rt, part);
    if (!part.is_string()) {
      rt.type_error(std::string(name) + " first arg must be str or a tuple of str, not " +
                    std::string(type_name(part)));
    }
    return inside && (start ? text.starts_with(part.text()) : text.ends_with(part.text()));
  };
  if (!given[0]->is(Kind::kTuple)) return Value::boolean(matches(*given[0]));
  const auto& parts = given[0]->as<List>().items;
  return Value::boolean(std::any_of(parts.begin(), parts.end(), matches));
}
Value startswith(Runtime& rt, const Value& self, const Arguments& arguments) {
  return affix(rt, self, arguments, true, "startswith");
}
Value endswith(Runtime& rt, const Value& self, const Arguments& arguments) {
  return affix(rt, self, arguments, false, "endswith");
}

Value removeprefix(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "removeprefix", {"prefix"}, 1);
  const std::string_view part = given.text(0, {});
  return same_kind(
      rt, self, std::string(self.text().substr(self.text().starts_with(part) ? part.size() : 0)));
}
Value removesuffix(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "removesuffix", {"suffix"}, 1);
  const std::string_view part = given.text(0, {});
  const std::size_t cut = self.text().ends_with(part) ? part.size() : 0;
  return same_kind(rt, self, std::string(self.text().substr(0, self.text().size() - cut)));
}

Value replace(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "replace", {"old", "new", "count"}, 2);
  const std::string_view replacement = given.text(1, {});
  const bool escape = self.str().markup && !given[1]->str().markup;
  return same_kind(rt, self,
                   replace_text(rt, self.text(), given.text(0, {}),
                                escape ? escape_html(rt, replacement) : std::string(replacement),
                                given.integer(2, -1)));
}

using Change = std::string (*)(std::string_view);
template <Change change>
Value change_case(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "the method", {});
  rt.touch(self.text().size() * 32);
  return same_kind(rt, self, change(self.text()));
}

template <bool left, bool right>
Value strip(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "strip", {"chars"});
  std::string_view text = self.text();
  rt.touch(text.size());
  if (given.absent(0)) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
  } else {
    const std::string_view chars = given.text(0, {});
    rt.step(text.size() / 64 * (chars.size() / 8 + 1));
    if (left) text = strip_left(text, chars);
    if (right) text = strip_right(text, chars);
  }
  return same_kind(rt, self, std::string(text));
}

/// Padding of ljust (-1), center (0) and rjust (1).
template <int side>
Value pad(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "the method", {"width", "fillchar"}, 1);
  const std::string_view fill = given.text(1, " ");
  if (count_code_points(fill) != 1)
    rt.type_error("The fill character must be exactly one character long");
  const std::int64_t width = given.integer(0, 0);
  if (side == 0) return same_kind(rt, self, center_text(rt, self.text(), width, fill));
  const std::int64_t missing = width - length_of(rt, self);
  if (missing <= 0) return self;
  rt.check_size(static_cast<std::uint64_t>(missing) * fill.size() + self.text().size());
  std::string padding;
  for (std::int64_t i = 0; i < missing; ++i) padding += fill;
  return same_kind(
      rt, self, side < 0 ? std::string(self.text()) + padding : padding + std::string(self.text()));
}

Value zfill(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "zfill", {"width"}, 1);
  const std::int64_t missing = given.integer(0, 0) - length_of(rt, self);
  if (missing <= 0) return self;
  rt.check_size(static_cast<std::uint64_t>(missing) + self.text().size());
  std::string text(self.text());
  const bool sign = text.starts_with('-') || text.starts_with('+');
  text.insert(sign ? 1 : 0, static_cast<std::size_t>(missing), '0');
  return same_kind(rt, self, std::move(text));
}

using Property = bool (*)(char32_t);
/// All code points have the property, and there is at least one.
template <Property property, bool of_empty = false>
Value every(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "the method", {});
  const std::string_view text = self.text();
  rt.touch(text.size() * 8);
  for (std::size_t at = 0; at < text.size();) {
    if (!property(next_code_point(text, at))) return Value::boolean(false);
  }
  return Value::boolean(of_empty || !text.empty());
}

bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

/// islower and isupper: at least one cased letter, and none of the other case.
template <bool upper>
Value is_case(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "the method", {});
  rt.touch(self.text().size() * 8);
  return Value::boolean(upper ? is_upper_text(self.text()) : is_lower_text(self.text()));
}

Value istitle(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "istitle", {});
  const std::string_view text = self.text();
  rt.touch(text.size() * 8);
  bool any = false;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool capital = is_upper(c) || is_title(c);
    if ((capital && inside) || (is_lower(c) && !inside)) return Value::boolean(false);
    inside = capital || is_lower(c);
    any = any || inside;
  }
  return Value::boolean(any);
}

Value format(Runtime& rt, const Value& self, const Arguments& arguments) {
  if (self.str().markup) rt.error("format of a text marked safe is not supported");
  return rt.string(format_braces(rt, self.text(), arguments));
}

}  // namespace

std::string replace_text(Runtime& rt, std::string_view text, std::string_view old,
                         std::string_view replacement, std::int64_t count) {
  touch_search(rt, text, old);
  std::string out;
  std::size_t at = 0;
  const auto step = [&](std::size_t next) {
    out += text.substr(at, next - at);
    at = next;
    rt.check_size(out.size() + replacement.size());
  };
  if (old.empty()) {
    for (; count != 0; --count) {
      out += replacement;
      if (at >= text.size()) break;
      step(at + code_point_bytes(text[at]));
    }
  } else {
    for (; count != 0; --count) {
      const std::size_t hit = find_text(text, old, at);
      if (hit == std::string_view::npos) break;
      step(hit);
      out += replacement;
      at += old.size();
    }
  }
  out += text.substr(at);
  return out;
}

std::string center_text(Runtime& rt, std::string_view text, std::int64_t width,
                        std::string_view fill) {
  rt.touch(text.size());
  const std::int64_t missing = width - static_cast<std::int64_t>(count_code_points(text));
  if (missing <= 0) return std::string(text);
  rt.check_size(static_cast<std::uint64_t>(missing) * fill.size() + text.size());
  const std::int64_t left = missing / 2 + (missing & width & 1);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (std::int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

const std::vector<MethodEntry>& text_methods() {
  static const std::vector<MethodEntry> table = [] {
    std::vector<MethodEntry> all = split_methods();
    const std::vector<MethodEntry> rest = {{"strip", &strip<true, true>},
                                           {"lstrip", &strip<true, false>},
                                           {"rstrip", &strip<false, true>},
                                           {"startswith", &startswith},
                                           {"endswith", &endswith},
                                           {"replace", &replace},
                                           {"upper", &change_case<&to_upper>},
                                           {"lower", &change_case<&to_lower>},
                                           {"title", &change_case<&title_case>},
                                           {"capitalize", &change_case<&capitalize>},
                                           {"swapcase", &change_case<&swap_case>},
                                           {"casefold", &change_case<&case_fold>},
                                           {"find", &find},
                                           {"rfind", &rfind},
                                           {"index", &index},
                                           {"rindex", &rindex},
                                           {"count", &count},
                                           {"removeprefix", &removeprefix},
                                           {"removesuffix", &removesuffix},
                                           {"format", &format},
                                           {"ljust", &pad<-1>},
                                           {"center", &pad<0>},
                                           {"rjust", &pad<1>},
                                           {"zfill", &zfill},
                                           {"isalpha", &every<&is_alpha>},
                                           {"isalnum", &every<&is_alnum>},
                                           {"isdigit", &every<&is_digit>},
                                           {"isdecimal", &every<&is_decimal>},
                                           {"isnumeric", &every<&is_numeric>},
                                           {"isspace", &every<&is_space>},
                                           {"isascii", &every<&is_ascii, true>},
                                           {"isprintable", &every<&is_printable, true>},
                                           {"islower", &is_case<false>},
                                           {"isupper", &is_case<true>},
                                           {"istitle", &istitle},
                                           {"encode", nullptr},
                                           {"expandtabs", nullptr},
                                           {"format_map", nullptr},
                                           {"isidentifier", nullptr},
                                           {"maketrans", nullptr},
                                           {"translate", nullptr}};
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  }();
  return table;
}

}  // namespace lancet::jinja
