// Methods of str that cut and join: split, rsplit, splitlines, partition, join.

#include <algorithm>

#include "core/text.h"
#include "formats/template/methods.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

using Pieces = std::vector<std::string_view>;

Value list_of(Runtime& rt, const Value& self, const Pieces& pieces) {
  std::vector<Value> items;
  items.reserve(pieces.size());
  for (const std::string_view piece : pieces) items.push_back(rt.string(piece, self.str().markup));
  return rt.list(std::move(items));
}

/// Number of code point bytes of the last code point.
std::size_t last_bytes(std::string_view text) {
  std::size_t bytes = 1;
  while (bytes < text.size() &&
         (static_cast<unsigned char>(text[text.size() - bytes]) & 0xc0) == 0x80)
    ++bytes;
  return bytes;
}

bool space_at(std::string_view text, std::size_t at) { return is_space(next_code_point(text, at)); }

Pieces split_space(Runtime& rt, std::string_view text, std::int64_t most) {
  Pieces pieces;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    rt.step();
    if (most >= 0 && static_cast<std::int64_t>(pieces.size()) >= most) {
      pieces.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !space_at(text, end)) end += code_point_bytes(text[end]);
    pieces.push_back(text.substr(0, end));
    text = text.substr(end);
  }
  return pieces;
}

Pieces rsplit_space(Runtime& rt, std::string_view text, std::int64_t most) {
  Pieces pieces;
  for (text = strip_right(text); !text.empty(); text = strip_right(text)) {
    rt.step();
    if (most >= 0 && static_cast<std::int64_t>(pieces.size()) >= most) {
      pieces.push_back(text);
      break;
    }
    std::size_t start = text.size();
    while (start > 0 && !space_at(text, start - last_bytes(text.substr(0, start)))) {
      start -= last_bytes(text.substr(0, start));
    }
    pieces.push_back(text.substr(start));
    text = text.substr(0, start);
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Pieces split_at(Runtime& rt, std::string_view text, std::string_view separator, std::int64_t most) {
  Pieces pieces;
  std::size_t from = 0;
  while (most < 0 || static_cast<std::int64_t>(pieces.size()) < most) {
    rt.step();
    const std::size_t hit = find_text(text, separator, from);
    if (hit == std::string_view::npos) break;
    pieces.push_back(text.substr(from, hit - from));
    from = hit + separator.size();
  }
  pieces.push_back(text.substr(from));
  return pieces;
}

Pieces rsplit_at(Runtime& rt, std::string_view text, std::string_view separator,
                 std::int64_t most) {
  Pieces pieces;
  rt.step(text.size() / 64 * (separator.size() / 64 + 1));
  while (most < 0 || static_cast<std::int64_t>(pieces.size()) < most) {
    rt.step();
    const std::size_t hit = text.rfind(separator);
    if (hit == std::string_view::npos) break;
    pieces.push_back(text.substr(hit + separator.size()));
    text = text.substr(0, hit);
  }
  pieces.push_back(text);
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

template <bool from_right>
Value split(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, from_right ? "rsplit" : "split", {"sep", "maxsplit"});
  const std::string_view text = self.text();
  rt.touch(text.size() * 4);
  const std::int64_t most = given.integer(1, -1);
  if (given.absent(0)) {
    return list_of(rt, self,
                   from_right ? rsplit_space(rt, text, most) : split_space(rt, text, most));
  }
  const std::string_view separator = given.text(0, {});
  if (separator.empty()) rt.error("ValueError: empty separator");
  touch_search(rt, text, separator);
  return list_of(
      rt, self,
      from_right ? rsplit_at(rt, text, separator, most) : split_at(rt, text, separator, most));
}

Value splitlines(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "splitlines", {"keepends"});
  rt.touch(self.text().size() * 4);
  return list_of(rt, self, split_lines(self.text(), given.flag(0, false)));
}

template <bool from_right>
Value partition(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "partition", {"sep"}, 1);
  const std::string_view separator = given.text(0, {});
  const std::string_view text = self.text();
  if (separator.empty()) rt.error("ValueError: empty separator");
  rt.touch(text.size());
  if (from_right) rt.step(text.size() / 64 * (separator.size() / 64 + 1));
  const std::size_t hit = from_right ? text.rfind(separator) : find_text(text, separator);
  const bool markup = self.str().markup;
  const auto part = [&](std::string_view piece) { return rt.string(piece, markup); };
  if (hit == std::string_view::npos) {
    return from_right ? rt.tuple({part({}), part({}), self}) : rt.tuple({self, part({}), part({})});
  }
  return rt.tuple(
      {part(text.substr(0, hit)), part(separator), part(text.substr(hit + separator.size()))});
}

Value join(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "join", {"iterable"}, 1);
  Cursor cursor(rt, *given[0]);
  std::string out;
  Value item;
  const bool markup = self.str().markup;
  for (std::size_t at = 0; cursor.next(item); ++at) {
    if (!item.is_string()) {
      rt.type_error("sequence item " + std::to_string(at) + ": expected str instance, " +
                    std::string(type_name(item)) + " found");
    }
    rt.touch(item.text().size() + self.text().size());
    rt.check_size(out.size() + item.text().size() + self.text().size());
    if (at > 0) out += self.text();
    if (markup && !item.str().markup)
      out += escape_html(rt, item.text());
    else
      out += item.text();
  }
  return rt.string(std::move(out), markup);
}

bool is_line_break(char32_t c) noexcept {
  return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    const char32_t c = next_code_point(text, at);
    if (!is_line_break(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, (keep_ends ? at : here) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

const std::vector<MethodEntry>& split_methods() {
  static const std::vector<MethodEntry> table = {
      {"split", &split<false>},         {"rsplit", &split<true>},
      {"splitlines", &splitlines},      {"partition", &partition<false>},
      {"rpartition", &partition<true>}, {"join", &join}};
  return table;
}

}  // namespace lancet::jinja
