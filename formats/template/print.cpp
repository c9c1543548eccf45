#include "formats/template/print.h"

#include <charconv>
#include <cmath>

#include "core/text.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

void append_escaped(std::string& out, char32_t c) {
  if (c == '\n')
    out += "\\n";
  else if (c == '\r')
    out += "\\r";
  else if (c == '\t')
    out += "\\t";
  else if (c < 0x100)
    append_hex(out, "\\x", c, 2);
  else if (c < 0x10000)
    append_hex(out, "\\u", c, 4);
  else
    append_hex(out, "\\U", c, 8);
}

class Printer {
 public:
  explicit Printer(Runtime& rt) : rt_(rt) {}

  void value(const Value& v) {
    rt_.step(2);
    switch (v.kind()) {
      case Kind::kUndefined:
        out += "Undefined";
        return;
      case Kind::kNone:
        out += "None";
        return;
      case Kind::kBool:
        out += v.as_int() != 0 ? "True" : "False";
        return;
      case Kind::kInt:
        out += std::to_string(v.as_int());
        return;
      case Kind::kFloat:
        out += repr_float(v.as_real());
        return;
      case Kind::kString:
        text(v);
        return;
      default:
        break;
    }
    const Level level(rt_);
    container(v);
    rt_.check_size(out.size());
  }

  std::string out;

 private:
  void text(const Value& v) {
    rt_.touch(v.text().size());
    if (v.str().markup) out += "Markup(";
    out += repr_text(v.text());
    if (v.str().markup) out += ")";
    rt_.check_size(out.size());
  }

  void container(const Value& v) {
    switch (v.kind()) {
      case Kind::kList:
        items(v.as<List>(), "[", "]");
        return;
      case Kind::kTuple:
        items(v.as<List>(), "(", v.as<List>().items.size() == 1 ? ",)" : ")");
        return;
      case Kind::kDict:
        dict(v.as<Dict>());
        return;
      case Kind::kView:
        view(v.as<View>());
        return;
      case Kind::kNamespace:
        out += "<Namespace ";
        dict(v.as<Namespace>().attributes);
        out += ">";
        return;
      case Kind::kRange: {
        const auto& range = v.as<Range>();
        out += "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
        if (range.step != 1) out += ", " + std::to_string(range.step);
        out += ")";
        return;
      }
      case Kind::kFunction:
        out += "<function " + std::string(v.as<Function>().name) + ">";
        return;
      case Kind::kMethod:
        out += "<built-in method " + v.as<Method>().name + " of " +
               std::string(type_name(v.as<Method>().self)) + " object>";
        return;
      default:
        out += "<" + std::string(type_name(v)) + " object>";
        return;
    }
  }

  void items(const List& list, const char* open, const char* close) {
    out += open;
    bool first = true;
    for (const Value& item : list.items) {
      if (!first) out += ", ";
      first = false;
      value(item);
    }
    out += close;
  }

  void dict(const Dict& d) {
    out += "{";
    bool first = true;
    for (const auto& [key, item] : d.entries) {
      if (!first) out += ", ";
      first = false;
      value(key);
      out += ": ";
      value(item);
    }
    out += "}";
  }

  void view(const View& v) {
    out += v.of == View::Of::kKeys     ? "dict_keys(["
           : v.of == View::Of::kValues ? "dict_values(["
                                       : "dict_items([";
    bool first = true;
    for (const auto& [key, item] : v.dict->entries) {
      if (!first) out += ", ";
      first = false;
      if (v.of == View::Of::kItems) out += "(";
      if (v.of != View::Of::kValues) value(key);
      if (v.of == View::Of::kItems) out += ", ";
      if (v.of != View::Of::kKeys) value(item);
      if (v.of == View::Of::kItems) out += ")";
    }
    out += "])";
  }

  Runtime& rt_;
};

}  // namespace

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t mark = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, mark)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  int exponent = 0;
  const std::string_view power = text.substr(mark + (text[mark + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  const std::string sign = text[0] == '-' ? "-" : "";
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    std::string out = sign + digits[0];
    if (count > 1) out += "." + digits.substr(1);
    const int size = std::abs(exponent);
    return out + (exponent < 0 ? "e-" : "e+") + (size < 10 ? "0" : "") + std::to_string(size);
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) {
    return sign + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string repr_text(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const bool both = single && text.find('"') != std::string_view::npos;
  const char quote = single && !both ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (is_printable(c)) {
      out += text.substr(start, at - start);
    } else {
      append_escaped(out, c);
    }
  }
  return out + quote;
}

std::string repr(Runtime& rt, const Value& value) {
  Printer printer(rt);
  printer.value(value);
  return std::move(printer.out);
}

std::string to_text(Runtime& rt, const Value& value) {
  if (value.is_string()) return std::string(value.text());
  if (value.is_undefined()) return {};
  return repr(rt, value);
}

Value to_string_value(Runtime& rt, const Value& value) {
  return value.is_string() ? value : rt.string(to_text(rt, value));
}

std::string escape_html(Runtime& rt, std::string_view text) {
  rt.touch(text.size() * 2);
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace lancet::jinja
