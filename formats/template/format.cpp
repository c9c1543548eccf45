// format % values, and the layout both kinds of formatting share.

#include "formats/template/format.h"

#include <charconv>
#include <cmath>

#include "core/text.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

constexpr std::int64_t kMaximumPrecision = 1000;

struct PercentItem {
  std::string flags;
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = 's';
};

class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, std::string_view format, const Value& argument)
      : rt_(rt), format_(format), argument_(argument) {}

  std::string run() {
    while (at_ < format_.size()) {
      const std::size_t mark = std::min(format_.find('%', at_), format_.size());
      out_ += format_.substr(at_, mark - at_);
      at_ = mark;
      if (at_ < format_.size()) item();
      rt_.check_size(out_.size());
    }
    if (has_leftover()) rt_.type_error("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  /// Values that can be subscripted may have more than the format uses.
  [[nodiscard]] bool has_leftover() const {
    switch (argument_.kind()) {
      case Kind::kTuple:
        return used_ < argument_.as<List>().items.size();
      case Kind::kDict:
      case Kind::kList:
      case Kind::kRange:
      case Kind::kUndefined:
        return false;
      default:
        return used_ == 0;
    }
  }

  char take() {
    if (at_ >= format_.size()) rt_.error("ValueError: incomplete format");
    return format_[at_++];
  }

  Value next_value() {
    if (argument_.is(Kind::kTuple)) {
      const auto& items = argument_.as<List>().items;
      if (used_ < items.size()) return items[used_++];
    } else if (used_ == 0) {
      ++used_;
      return argument_;
    }
    rt_.type_error("not enough arguments for format string");
  }

  std::int64_t number(char first) {
    std::int64_t value = first - '0';
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      value = value * 10 + (format_[at_++] - '0');
      rt_.check_size(static_cast<std::uint64_t>(value));
    }
    return value;
  }

  void item() {
    ++at_;
    PercentItem spec;
    Value value;
    bool named = false;
    char c = take();
    if (c == '(') {
      const std::size_t close = format_.find(')', at_);
      if (close == std::string_view::npos) rt_.error("ValueError: incomplete format key");
      const Value key = rt_.string(format_.substr(at_, close - at_));
      if (!argument_.is(Kind::kDict)) rt_.type_error("format requires a mapping");
      const Value* found = argument_.as<Dict>().find(rt_, key);
      if (found == nullptr) rt_.error("KeyError: " + repr(rt_, key));
      value = *found;
      named = true;
      at_ = close + 1;
      c = take();
    }
    for (; std::string_view("+- #0").find(c) != std::string_view::npos; c = take()) spec.flags += c;
    if (c >= '1' && c <= '9') {
      spec.width = number(c);
      c = take();
    }
    if (c == '.') {
      spec.precision = 0;
      c = take();
      if (c >= '0' && c <= '9') {
        spec.precision = number(c);
        c = take();
      }
    }
    if (c == '*') rt_.error("a width of * is not supported");
    while (c == 'h' || c == 'l' || c == 'L') c = take();
    if (c == '%') {
      out_ += '%';
      return;
    }
    spec.type = c;
    if (!named) value = next_value();
    convert(spec, value);
  }

  void convert(const PercentItem& spec, const Value& value) {
    const bool left = spec.flags.find('-') != std::string::npos;
    const bool zero = !left && spec.flags.find('0') != std::string::npos;
    Layout layout{.fill = ' ', .align = left ? '<' : '>', .width = spec.width};
    std::string text;
    switch (spec.type) {
      case 's':
      case 'r':
        text = spec.type == 's' ? to_text(rt_, value) : repr(rt_, value);
        if (spec.precision >= 0)
          text.resize(byte_offset(text, static_cast<std::size_t>(spec.precision)));
        break;
      case 'c':
        text = character(value);
        break;
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        text = whole(spec, value);
        if (zero) layout = {.fill = '0', .align = '=', .width = spec.width};
        break;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) {
          rt_.type_error("must be real number, not " + std::string(type_name(value)));
        }
        if (spec.precision > kMaximumPrecision) rt_.error("ValueError: precision too big");
        if (spec.flags.find('#') != std::string::npos)
          rt_.error("the flag # of a float is not supported");
        text = format_double(value.number(), spec.flags, spec.precision, spec.type);
        if (zero) layout = {.fill = '0', .align = '=', .width = spec.width};
        break;
      default:
        rt_.error("ValueError: unsupported format character '" + std::string(1, spec.type) + "'");
    }
    out_ += lay_out(rt_, text, layout);
  }

  std::string character(const Value& value) {
    if (value.is_string() && count_code_points(value.text()) == 1) return std::string(value.text());
    if (!value.is_integral() || value.as_int() < 0 || value.as_int() > 0x10ffff ||
        (value.as_int() >= 0xd800 && value.as_int() < 0xe000)) {
      rt_.type_error("%c requires int or char");
    }
    std::string out;
    append_utf8(out, static_cast<char32_t>(value.as_int()));
    return out;
  }

  std::string whole(const PercentItem& spec, const Value& value) {
    const bool decimal = spec.type != 'x' && spec.type != 'X' && spec.type != 'o';
    std::int64_t number = value.is_integral() ? value.as_int() : 0;
    if (value.is(Kind::kFloat) && decimal && std::abs(value.as_real()) < 0x1p63) {
      number = static_cast<std::int64_t>(value.as_real());
    } else if (!value.is_integral()) {
      rt_.type_error("%" + std::string(1, spec.type) + " format: a real number is required, not " +
                     std::string(type_name(value)));
    }
    std::string digits = format_integer(number, decimal ? 'd' : spec.type,
                                        spec.flags.find('#') != std::string::npos);
    const bool minus = number < 0;
    if (spec.precision > kMaximumPrecision) rt_.error("ValueError: precision too big");
    const auto least =
        static_cast<std::size_t>(spec.precision < 0 ? 0 : spec.precision) + (minus ? 1 : 0);
    if (digits.size() < least) digits.insert(minus ? 1 : 0, least - digits.size(), '0');
    if (!minus && spec.flags.find('+') != std::string::npos) return "+" + digits;
    if (!minus && spec.flags.find(' ') != std::string::npos) return " " + digits;
    return digits;
  }

  Runtime& rt_;
  std::string_view format_;
  const Value& argument_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
  std::string out_;
};

}  // namespace

std::string format_integer(std::int64_t value, char type, bool prefix) {
  const auto size =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  const unsigned base = type == 'd' ? 10 : type == 'o' ? 8 : type == 'b' ? 2 : 16;
  const char* alphabet = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  for (std::uint64_t rest = size; rest > 0 || digits.empty(); rest /= base) {
    digits.insert(digits.begin(), alphabet[rest % base]);
  }
  if (prefix && base != 10) digits = std::string("0") + type + digits;
  return (value < 0 ? "-" : "") + digits;
}

std::string format_double(double value, std::string_view flags, std::int64_t precision, char type) {
  std::string out;
  if (!std::isfinite(value)) {
    out = std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
    if (type == 'E' || type == 'F' || type == 'G') {
      for (char& c : out) c = c == '-' ? c : static_cast<char>(c - 0x20);
    }
  } else {
    const char kind = static_cast<char>(type | 0x20);
    const auto style = kind == 'e'   ? std::chars_format::scientific
                       : kind == 'f' ? std::chars_format::fixed
                                     : std::chars_format::general;
    char buffer[1400];  // 309 digits, the point, 1000 decimals
    const auto digits = static_cast<int>(precision < 0 ? 6 : precision);
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, style, digits).ptr;
    out.assign(buffer, end);
    if (kind != type) {
      for (char& c : out) c = c == 'e' ? 'E' : c;
    }
  }
  if (out[0] != '-' && flags.find('+') != std::string_view::npos) return "+" + out;
  if (out[0] != '-' && flags.find(' ') != std::string_view::npos) return " " + out;
  return out;
}

std::string lay_out(Runtime& rt, const std::string& text, const Layout& layout) {
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  if (layout.width <= size) return text;
  const auto missing = static_cast<std::size_t>(layout.width - size);
  std::string fill;
  append_utf8(fill, layout.fill);
  rt.check_size(missing * fill.size() + text.size());
  rt.touch(missing * fill.size());
  const auto padding = [&](std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) out += fill;
    return out;
  };
  switch (layout.align) {
    case '<':
      return text + padding(missing);
    case '^':
      return padding(missing / 2) + text + padding(missing - missing / 2);
    case '=': {
      std::size_t lead =
          !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
      const char mark = text.size() > lead + 1 && text[lead] == '0' ? text[lead + 1] : '\0';
      if (mark == 'x' || mark == 'X' || mark == 'o' || mark == 'b') lead += 2;
      return text.substr(0, lead) + padding(missing) + text.substr(lead);
    }
    default:
      return padding(missing) + text;
  }
}

std::string format_percent(Runtime& rt, std::string_view format, const Value& argument) {
  rt.touch(format.size());
  return PercentFormatter(rt, format, argument).run();
}

}  // namespace lancet::jinja
