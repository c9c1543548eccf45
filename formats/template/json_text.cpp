// json.dumps: separators, indentation, key order and escapes of Python's encoder.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/text.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

void append_string(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\b':
        out += "\\b";
        continue;
      case '\f':
        out += "\\f";
        continue;
      default:
        break;
    }
    if (c >= 0x20 && (c < 0x7f || !ascii)) {
      out += text.substr(start, at - start);
    } else if (c < 0x10000) {
      append_hex(out, "\\u", c, 4);
    } else {
      append_hex(out, "\\u", 0xd800 + ((c - 0x10000) >> 10), 4);
      append_hex(out, "\\u", 0xdc00 + ((c - 0x10000) & 0x3ff), 4);
    }
  }
  out += '"';
}

class Encoder {
 public:
  Encoder(Runtime& rt, const JsonStyle& style) : rt_(rt), style_(style) {}

  void value(const Value& v) {
    rt_.step(2);
    switch (v.kind()) {
      case Kind::kNone:
        out += "null";
        return;
      case Kind::kBool:
        out += v.as_int() != 0 ? "true" : "false";
        return;
      case Kind::kInt:
        out += std::to_string(v.as_int());
        return;
      case Kind::kFloat:
        out += number(v.as_real());
        return;
      case Kind::kString:
        rt_.touch(v.text().size());
        append_string(out, v.text(), style_.ensure_ascii);
        break;
      case Kind::kList:
      case Kind::kTuple:
        array(v.as<List>());
        break;
      case Kind::kDict:
        object(v.as<Dict>());
        break;
      default:
        rt_.type_error("Object of type " + std::string(type_name(v)) + " is not JSON serializable");
    }
    rt_.check_size(out.size());
  }

  std::string out;

 private:
  static std::string number(double v) {
    if (std::isnan(v)) return "NaN";
    if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
    return repr_float(v);
  }

  void new_line() {
    if (!style_.indented) return;
    out += '\n';
    for (int i = 0; i < depth_; ++i) {
      out += style_.indent;
      rt_.check_size(out.size());
      rt_.touch(style_.indent.size());
    }
  }

  void array(const List& list) {
    if (list.items.empty()) {
      out += "[]";
      return;
    }
    const Level level(rt_);
    out += '[';
    ++depth_;
    bool first = true;
    for (const Value& item : list.items) {
      if (!first) out += style_.item_separator;
      first = false;
      new_line();
      value(item);
    }
    --depth_;
    new_line();
    out += ']';
  }

  void key(const Value& k) {
    switch (k.kind()) {
      case Kind::kString:
        append_string(out, k.text(), style_.ensure_ascii);
        return;
      case Kind::kNone:
        out += "\"null\"";
        return;
      case Kind::kBool:
        out += k.as_int() != 0 ? "\"true\"" : "\"false\"";
        return;
      case Kind::kInt:
        out += '"' + std::to_string(k.as_int()) + '"';
        return;
      case Kind::kFloat:
        out += '"' + number(k.as_real()) + '"';
        return;
      default:
        rt_.type_error("keys must be str, int, float, bool or None, not " +
                       std::string(type_name(k)));
    }
  }

  void object(const Dict& dict) {
    if (dict.entries.empty()) {
      out += "{}";
      return;
    }
    const Level level(rt_);
    std::vector<std::size_t> order(dict.entries.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (style_.sort_keys) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return less(rt_, dict.entries[a].first, dict.entries[b].first);
      });
    }
    out += '{';
    ++depth_;
    bool first = true;
    for (const std::size_t at : order) {
      if (!first) out += style_.item_separator;
      first = false;
      new_line();
      key(dict.entries[at].first);
      out += style_.key_separator;
      value(dict.entries[at].second);
    }
    --depth_;
    new_line();
    out += '}';
  }

  Runtime& rt_;
  const JsonStyle& style_;
  int depth_ = 0;
};

}  // namespace

std::string to_json(Runtime& rt, const Value& value, const JsonStyle& style) {
  Encoder encoder(rt, style);
  encoder.value(value);
  return std::move(encoder.out);
}

}  // namespace lancet::jinja
