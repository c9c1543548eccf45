// str.format: fields by position and name, attributes and items through the sandbox, the format
// mini-language for text and numbers.

#include "formats/template/format.h"

#include "core/text.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

struct Spec {
  Layout layout;
  bool aligned = false;
  std::string sign;  ///< "", "+", "-" or " "
  bool alternate = false;
  char grouping = '\0';  ///< ',' or '_'
  std::int64_t precision = -1;
  char type = '\0';
};

class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, std::string_view format, const Arguments& arguments)
      : rt_(rt), format_(format), arguments_(arguments) {}

  std::string run() {
    while (at_ < format_.size()) {
      const std::size_t mark = std::min(format_.find_first_of("{}", at_), format_.size());
      out_ += format_.substr(at_, mark - at_);
      at_ = mark;
      if (at_ >= format_.size()) break;
      const char c = format_[at_];
      if (at_ + 1 < format_.size() && format_[at_ + 1] == c) {
        out_ += c;
        at_ += 2;
      } else if (c == '}') {
        rt_.error("ValueError: Single '}' encountered in format string");
      } else {
        field();
      }
      rt_.check_size(out_.size());
    }
    return std::move(out_);
  }

 private:
  void field() {
    const std::size_t close = format_.find_first_of("{}", at_ + 1);
    if (close == std::string_view::npos) rt_.error("ValueError: expected '}' before end of string");
    if (format_[close] == '{') rt_.error("nested format fields are not supported");
    std::string_view inside = format_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    std::string_view spec;
    if (const std::size_t colon = inside.find(':'); colon != std::string_view::npos) {
      spec = inside.substr(colon + 1);
      inside = inside.substr(0, colon);
    }
    char conversion = '\0';
    if (const std::size_t mark = inside.find('!'); mark != std::string_view::npos) {
      if (mark + 2 != inside.size()) rt_.error("ValueError: bad conversion in format string");
      conversion = inside[mark + 1];
      inside = inside.substr(0, mark);
    }
    Value value = resolve(inside);
    if (conversion == 'r')
      value = rt_.string(repr(rt_, value));
    else if (conversion == 's')
      value = to_string_value(rt_, value);
    else if (conversion != '\0')
      rt_.error("ValueError: unknown conversion in format string");
    out_ += apply(value, parse(spec));
  }

  Value resolve(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(path.substr(0, end));
    path = path.substr(end);
    while (!path.empty()) {
      const bool bracket = path[0] == '[';
      const std::size_t stop =
          bracket ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
      if (stop == std::string_view::npos) rt_.error("ValueError: Missing ']' in format string");
      const std::string_view name = path.substr(1, stop - 1);
      if (name.empty()) rt_.error("ValueError: Empty attribute in format string");
      std::int64_t index = 0;
      bool big = false;
      const bool digits = name.find_first_not_of("0123456789") == std::string_view::npos;
      if (bracket && digits && parse_integer(name, 10, index, big)) {
        value = get_item(rt_, value, Value::integer(index));
      } else {
        value = bracket ? get_item(rt_, value, rt_.string(name))
                        : get_attribute(rt_, value, rt_.string(name));
      }
      path = path.substr(bracket ? stop + 1 : stop);
    }
    return value;
  }

  Value first(std::string_view name) {
    std::int64_t index = 0;
    bool big = false;
    if (name.empty()) {
      index = automatic_++;
    } else if (name.find_first_not_of("0123456789") != std::string_view::npos ||
               !parse_integer(name, 10, index, big)) {
      for (const auto& [key, value] : arguments_.named) {
        if (key == name) return value;
      }
      rt_.error("KeyError: " + repr_text(name));
    }
    if (static_cast<std::uint64_t>(index) >= arguments_.positional.size()) {
      rt_.error("IndexError: Replacement index " + std::to_string(index) + " out of range");
    }
    return arguments_.positional[static_cast<std::size_t>(index)];
  }

  std::int64_t number(std::string_view& text) {
    std::int64_t value = 0;
    while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
      value = value * 10 + (text[0] - '0');
      rt_.check_size(static_cast<std::uint64_t>(value));
      text.remove_prefix(1);
    }
    return value;
  }

  static bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

  Spec parse(std::string_view text) {
    Spec spec;
    const auto take = [&](std::string_view set) {
      if (text.empty() || set.find(text[0]) == std::string_view::npos) return '\0';
      const char c = text[0];
      text.remove_prefix(1);
      return c;
    };
    const std::size_t lead = text.empty() ? 0 : code_point_bytes(text[0]);
    if (lead > 0 && text.size() > lead && is_align(text[lead])) {
      std::size_t at = 0;
      spec.layout.fill = next_code_point(text, at);
      text.remove_prefix(lead);
    }
    if (const char align = take("<>^="); align != '\0') {
      spec.layout.align = align;
      spec.aligned = true;
    }
    if (const char sign = take("+- "); sign != '\0') spec.sign = sign;
    spec.alternate = take("#") != '\0';
    if (take("0") != '\0' && !spec.aligned) {
      spec.layout = {.fill = '0', .align = '=', .width = 0};
      spec.aligned = true;
    }
    spec.layout.width = number(text);
    spec.grouping = take(",_");
    if (take(".") != '\0') {
      if (text.empty() || text[0] < '0' || text[0] > '9') {
        rt_.error("ValueError: Format specifier missing precision");
      }
      spec.precision = number(text);
      if (spec.precision > 1000 && text != "s" && !text.empty())
        rt_.error("ValueError: precision too big");
    }
    spec.type = take("sdxXobceEfFgGn%");
    if (!text.empty()) rt_.error("ValueError: Invalid format specifier");
    return spec;
  }

  std::string apply(const Value& value, Spec spec) {
    if (value.is_number() && (!value.is(Kind::kBool) || spec.type != '\0'))
      return numeric(value, spec);
    if (!value.is_string() &&
        (spec.layout.width != 0 || spec.type != '\0' || spec.precision >= 0) &&
        !value.is(Kind::kBool)) {
      rt_.type_error("unsupported format string passed to " + std::string(type_name(value)) +
                     ".__format__");
    }
    if (spec.type != '\0' && spec.type != 's') {
      rt_.error("ValueError: Unknown format code '" + std::string(1, spec.type) +
                "' for object of type 'str'");
    }
    std::string text = to_text(rt_, value);
    if (spec.precision >= 0)
      text.resize(byte_offset(text, static_cast<std::size_t>(spec.precision)));
    if (spec.layout.align == '=') spec.layout.align = '<';
    return lay_out(rt_, text, spec.layout);
  }

  std::string numeric(const Value& value, Spec spec) {
    if (!spec.aligned) spec.layout.align = '>';
    const bool real = value.is(Kind::kFloat) || std::string_view("eEfFgG%").find(spec.type) < 7;
    std::string text;
    if (spec.type == 's' || spec.type == 'n' || spec.type == 'c')
      rt_.error("ValueError: Unknown format code");
    if (!real) {
      if (spec.precision >= 0)
        rt_.error("ValueError: Precision not allowed in integer format specifier");
      text = format_integer(value.as_int(), spec.type == '\0' ? 'd' : spec.type, spec.alternate);
    } else if (spec.type == '\0' && spec.precision < 0) {
      text = repr_float(value.number());
    } else if (spec.type == '%') {
      text = format_double(value.number() * 100, "", spec.precision, 'f') + "%";
    } else {
      if (spec.type == '\0' || std::string_view("eEfFgG").find(spec.type) >= 6 || spec.alternate) {
        rt_.error("this format of a float is not supported");
      }
      text = format_double(value.number(), "", spec.precision, spec.type);
    }
    if (spec.grouping != '\0') text = grouped(text, spec.grouping);
    if (text[0] != '-' && (spec.sign == "+" || spec.sign == " ")) text = spec.sign + text;
    return lay_out(rt_, text, spec.layout);
  }

  /// A separator between every three digits before the point.
  static std::string grouped(const std::string& text, char separator) {
    const std::size_t from = text[0] == '-' ? 1 : 0;
    std::size_t end = from;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    std::string out = text;
    for (std::size_t at = end; at > from + 3; at -= 3) out.insert(at - 3, 1, separator);
    return out;
  }

  Runtime& rt_;
  std::string_view format_;
  const Arguments& arguments_;
  std::size_t at_ = 0;
  std::int64_t automatic_ = 0;
  std::string out_;
};

}  // namespace

std::string format_braces(Runtime& rt, std::string_view format, const Arguments& arguments) {
  rt.touch(format.size());
  return BraceFormatter(rt, format, arguments).run();
}

}  // namespace lancet::jinja
