// Lengths, iteration and slicing of values.

#include <algorithm>

#include "formats/template/runtime.h"
#include "formats/template/unicode.h"
#include "formats/template/value.h"

namespace lancet::jinja {
namespace {

Value view_item(Runtime& rt, const View& view, std::size_t at) {
  const auto& [key, value] = view.dict->entries[at];
  switch (view.of) {
    case View::Of::kKeys:
      return key;
    case View::Of::kValues:
      return value;
    case View::Of::kItems:
      break;
  }
  return rt.tuple({key, value});
}

/// Python's clamping of slice bounds: first index, step, count.
struct Bounds {
  std::int64_t first, step, count;
};

std::int64_t bound(Runtime& rt, const Value& value, std::int64_t fallback) {
  if (value.is_none()) return fallback;
  if (!value.is_integral()) {
    rt.type_error("slice indices must be integers or None or have an __index__ method");
  }
  return value.as_int();
}

Bounds slice_bounds(Runtime& rt, std::int64_t size, const Value& start, const Value& stop,
                    const Value& step_value) {
  const std::int64_t step = bound(rt, step_value, 1);
  if (step == 0) rt.error("ValueError: slice step cannot be zero");
  const std::int64_t low = step > 0 ? 0 : -1;
  const std::int64_t high = step > 0 ? size : size - 1;
  const auto clamp = [&](std::int64_t at) {
    if (at < 0) at = at < -size ? low : at + size;
    return std::clamp(at, low, high);
  };
  const std::int64_t first = start.is_none() ? (step > 0 ? low : high) : clamp(bound(rt, start, 0));
  const std::int64_t end = stop.is_none() ? (step > 0 ? high : low) : clamp(bound(rt, stop, 0));
  std::int64_t count = 0;
  if (step > 0 && first < end) count = (end - first - 1) / step + 1;
  if (step < 0 && first > end) {
    const std::uint64_t stride = 0 - static_cast<std::uint64_t>(step);
    count = static_cast<std::int64_t>(static_cast<std::uint64_t>(first - end - 1) / stride) + 1;
  }
  return {first, step, count};
}

Value slice_string(Runtime& rt, const Value& value, const Bounds& at) {
  const std::string_view text = value.text();
  rt.touch(text.size() * 4);
  std::string out;
  if (at.step == 1) {
    const std::size_t from = byte_offset(text, static_cast<std::size_t>(at.first));
    const std::string_view rest = text.substr(from);
    out = rest.substr(0, byte_offset(rest, static_cast<std::size_t>(at.count)));
  } else {
    rt.step(static_cast<std::uint64_t>(at.count));
    std::vector<std::size_t> starts;
    rt.memory().grow(8 * text.size());
    for (std::size_t i = 0; i < text.size(); i += code_point_bytes(text[i])) starts.push_back(i);
    for (std::int64_t i = 0; i < at.count; ++i) {
      const std::size_t from = starts[static_cast<std::size_t>(at.first + i * at.step)];
      out += text.substr(from, code_point_bytes(text[from]));
    }
    rt.memory().shrink(8 * text.size());
  }
  return rt.string(std::move(out), value.str().markup);
}

}  // namespace

bool has_length(const Value& value) noexcept {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView:
      return true;
    default:
      return false;
  }
}

std::int64_t length_of(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      rt.touch(value.text().size());
      return static_cast<std::int64_t>(count_code_points(value.text()));
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<std::int64_t>(value.as<List>().items.size());
    case Kind::kDict:
      return static_cast<std::int64_t>(value.as<Dict>().entries.size());
    case Kind::kRange:
      return value.as<Range>().length;
    case Kind::kView:
      return static_cast<std::int64_t>(value.as<View>().dict->entries.size());
    default:
      break;
  }
  rt.type_error("object of type '" + std::string(type_name(value)) + "' has no len()");
}

bool is_iterable(const Value& value) noexcept {
  return has_length(value) || value.is(Kind::kIterator);
}

Cursor::Cursor(Runtime& rt, Value source) : rt_(rt), source_(std::move(source)) {
  if (!is_iterable(source_)) {
    rt.type_error("'" + std::string(type_name(source_)) + "' object is not iterable");
  }
}

bool Cursor::next(Value& out) {
  rt_.step();
  const std::size_t at = at_;
  switch (source_.kind()) {
    case Kind::kString: {
      const std::string_view text = source_.text();
      if (at >= text.size()) return false;
      const std::size_t bytes = code_point_bytes(text[at]);
      out = rt_.string(text.substr(at, bytes));
      at_ += bytes;
      return true;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (at >= source_.as<List>().items.size()) return false;
      out = source_.as<List>().items[at];
      break;
    case Kind::kDict:
      if (at >= source_.as<Dict>().entries.size()) return false;
      out = source_.as<Dict>().entries[at].first;
      break;
    case Kind::kView:
      if (at >= source_.as<View>().dict->entries.size()) return false;
      out = view_item(rt_, source_.as<View>(), at);
      break;
    case Kind::kRange: {
      const auto& range = source_.as<Range>();
      if (static_cast<std::int64_t>(at) >= range.length) return false;
      out = Value::integer(range.start + static_cast<std::int64_t>(at) * range.step);
      break;
    }
    case Kind::kIterator: {
      const Level level(rt_);
      return source_.as<Iterator>().next(rt_, out);
    }
    default:
      return false;
  }
  ++at_;
  return true;
}

std::vector<Value> collect(Runtime& rt, const Value& value) {
  std::vector<Value> items;
  Cursor cursor(rt, value);
  Value item;
  while (cursor.next(item)) {
    rt.memory().grow(sizeof(Value));
    items.push_back(item);
  }
  rt.memory().shrink(items.size() * sizeof(Value));
  return items;
}

Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  if (object.is_undefined()) fail_undefined(rt, object);
  if (!object.is_string() && !object.is_array() && !object.is(Kind::kRange)) {
    if (object.is(Kind::kDict)) rt.type_error("unhashable type: 'slice'");
    rt.type_error("'" + std::string(type_name(object)) + "' object is not subscriptable");
  }
  const Bounds at = slice_bounds(rt, length_of(rt, object), start, stop, step);
  if (object.is_string()) return slice_string(rt, object, at);
  if (object.is(Kind::kRange)) {
    const auto& range = object.as<Range>();
    const std::int64_t first = range.start + at.first * range.step;
    const std::int64_t step_of = at.count < 2 ? range.step : range.step * at.step;
    return Value::object(&rt.make<Range>(0, first, first + at.count * step_of, step_of, at.count));
  }
  std::vector<Value> items;
  rt.step(static_cast<std::uint64_t>(at.count));
  for (std::int64_t i = 0; i < at.count; ++i) {
    items.push_back(object.as<List>().items[static_cast<std::size_t>(at.first + i * at.step)]);
  }
  return rt.list(std::move(items), object.kind());
}

}  // namespace lancet::jinja
