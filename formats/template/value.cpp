#include "formats/template/value.h"

#include <cmath>
#include <cstring>

#include "formats/template/runtime.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

std::uint64_t mix(std::uint64_t x) noexcept {  // splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t hash_text(std::string_view text) noexcept {
  return mix(std::hash<std::string_view>{}(text) + 0x9e3779b97f4a7c15ULL);
}

/// -1, 0, 1, or 2 where a NaN is compared. Exact for any int64 against any double.
int compare_numbers(const Value& a, const Value& b) noexcept {
  if (a.is_integral() && b.is_integral()) {
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  const double x = a.number();
  const double y = b.number();
  if (std::isnan(x) || std::isnan(y)) return 2;
  if (x != y || !a.is_integral() == !b.is_integral()) return x < y ? -1 : x > y ? 1 : 0;
  // Equal as doubles, one of them an integer that may have been rounded.
  const std::int64_t whole = a.is_integral() ? a.as_int() : b.as_int();
  if (y >= 0x1p63) return a.is_integral() ? -1 : 1;
  const auto other = static_cast<std::int64_t>(y);
  const int order = whole < other ? -1 : whole > other ? 1 : 0;
  return a.is_integral() ? order : -order;
}

bool equal_arrays(Runtime& rt, const List& a, const List& b) {
  if (a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(rt, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool equal_dicts(Runtime& rt, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(rt, key);
    if (other == nullptr || !equal(rt, value, *other)) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) noexcept {
  if (a.length != b.length) return false;
  if (a.length == 0) return true;
  return a.start == b.start && (a.length == 1 || a.step == b.step);
}

bool range_contains(const Range& range, const Value& value) noexcept {
  if (!value.is_number()) return false;
  const double number = value.number();
  if (number != std::floor(number) || std::abs(number) > 0x1p62) return false;
  const auto whole = value.is_integral() ? value.as_int() : static_cast<std::int64_t>(number);
  const std::int64_t offset = whole - range.start;
  return offset % range.step == 0 && offset / range.step >= 0 && offset / range.step < range.length;
}

}  // namespace

void Value::destroy(Str* str) noexcept {
  if (str->memory != nullptr) str->memory->shrink(str->text.size() + sizeof(Str));
  delete str;
}

Value& Value::operator=(const Value& other) noexcept {
  if (this != &other) {
    Value copy_of(other);
    *this = std::move(copy_of);
  }
  return *this;
}

Value& Value::operator=(Value&& other) noexcept {
  if (this != &other) {
    release();
    copy(other);
    other.kind_ = Kind::kNone;
  }
  return *this;
}

Value Value::undefined(Missing why, const Value& name, Kind of) noexcept {
  Value value(name);
  value.kind_ = Kind::kUndefined;
  value.why_ = why;
  value.of_ = of;
  return value;
}

const Value* Dict::find(Runtime& rt, const Value& key) const {
  const std::ptrdiff_t at = locate(rt, key, hash_of(rt, key));
  return at < 0 ? nullptr : &entries[static_cast<std::size_t>(at)].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto [from, to] = index_.equal_range(hash_text(key));
  for (auto it = from; it != to; ++it) {
    const auto& entry = entries[it->second];
    if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
  }
  return nullptr;
}

std::ptrdiff_t Dict::locate(Runtime& rt, const Value& key, std::uint64_t hash) const {
  const auto [from, to] = index_.equal_range(hash);
  for (auto it = from; it != to; ++it) {
    if (equal(rt, entries[it->second].first, key)) return static_cast<std::ptrdiff_t>(it->second);
  }
  return -1;
}

void Dict::set(Runtime& rt, const Value& key, Value value) {
  const std::uint64_t hash = hash_of(rt, key);
  const std::ptrdiff_t at = locate(rt, key, hash);
  if (at >= 0) {
    entries[static_cast<std::size_t>(at)].second = std::move(value);
    return;
  }
  rt.step(4);
  rt.memory().grow(96);  // the entry and its place in the index
  index_.emplace(hash, static_cast<std::uint32_t>(entries.size()));
  entries.emplace_back(key, std::move(value));
}

std::string_view type_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return "dict_items";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kIterator:
      return "generator";
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunction:
      return "function";
    case Kind::kMethod:
      return "builtin_function_or_method";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "object";
}

std::string_view type_name(const Value& value) noexcept {
  if (value.is(Kind::kView)) {
    const auto of = value.as<View>().of;
    return of == View::Of::kKeys     ? "dict_keys"
           : of == View::Of::kValues ? "dict_values"
                                     : "dict_items";
  }
  return type_name(value.kind());
}

bool truthy(const Value& value) noexcept {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_real() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.as<List>().items.empty();
    case Kind::kDict:
      return !value.as<Dict>().entries.empty();
    case Kind::kRange:
      return value.as<Range>().length != 0;
    case Kind::kView:
      return !value.as<View>().dict->entries.empty();
    default:
      return true;
  }
}

bool equal(Runtime& rt, const Value& a, const Value& b) {
  rt.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      rt.touch(a.text().size());
      return a.text() == b.text();
    default:
      break;
  }
  if (a.heap() == b.heap()) return true;
  const Level level(rt);
  switch (a.kind()) {
    case Kind::kList:
    case Kind::kTuple:
      return equal_arrays(rt, a.as<List>(), b.as<List>());
    case Kind::kDict:
      return equal_dicts(rt, a.as<Dict>(), b.as<Dict>());
    case Kind::kRange:
      return equal_ranges(a.as<Range>(), b.as<Range>());
    default:
      return false;
  }
}

bool less(Runtime& rt, const Value& a, const Value& b, std::string_view op) {
  rt.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.is_string() && b.is_string()) {  // UTF-8 sorts by code point
    rt.touch(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();
  }
  if (a.is_array() && a.kind() == b.kind()) {
    const Level level(rt);
    const auto& x = a.as<List>().items;
    const auto& y = b.as<List>().items;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(rt, x[i], y[i])) return less(rt, x[i], y[i], op);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined()) fail_undefined(rt, a);
  if (b.is_undefined()) fail_undefined(rt, b);
  rt.type_error("'" + std::string(op) + "' not supported between instances of '" +
                std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

bool less_or_equal(Runtime& rt, const Value& a, const Value& b, std::string_view op) {
  if (a.is_number() && b.is_number()) {
    const int order = compare_numbers(a, b);
    return order == -1 || order == 0;
  }
  if (a.is_array() && a.kind() == b.kind()) {
    const Level level(rt);
    const auto& x = a.as<List>().items;
    const auto& y = b.as<List>().items;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(rt, x[i], y[i])) return less_or_equal(rt, x[i], y[i], op);
    }
    return x.size() <= y.size();
  }
  return less(rt, a, b, op) || equal(rt, a, b);
}

std::uint64_t hash_of(Runtime& rt, const Value& value) {
  rt.step();
  switch (value.kind()) {
    case Kind::kUndefined:
      return 1;
    case Kind::kNone:
      return 2;
    case Kind::kBool:
    case Kind::kInt:
      return mix(static_cast<std::uint64_t>(value.as_int()) + 3);
    case Kind::kFloat: {
      const double number = value.as_real();
      if (number == std::floor(number) && std::abs(number) < 0x1p62) {
        return mix(static_cast<std::uint64_t>(static_cast<std::int64_t>(number)) + 3);
      }
      std::uint64_t bits = 0;
      std::memcpy(&bits, &number, sizeof bits);
      return mix(bits);
    }
    case Kind::kString:
      rt.touch(value.text().size());
      return hash_text(value.text());
    case Kind::kTuple: {
      const Level level(rt);
      std::uint64_t hash = 5;
      for (const Value& item : value.as<List>().items) hash = mix(hash ^ hash_of(rt, item)) + 1;
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
      rt.type_error("unhashable type: '" + std::string(type_name(value)) + "'");
    default:
      return mix(reinterpret_cast<std::uintptr_t>(value.heap()));
  }
}

bool contains(Runtime& rt, const Value& haystack, const Value& needle) {
  switch (haystack.kind()) {
    case Kind::kString:
      if (!needle.is_string()) {
        rt.type_error("'in <string>' requires string as left operand, not " +
                      std::string(type_name(needle)));
      }
      touch_search(rt, haystack.text(), needle.text());
      return find_text(haystack.text(), needle.text()) != std::string_view::npos;
    case Kind::kDict:
      return haystack.as<Dict>().find(rt, needle) != nullptr;
    case Kind::kRange:
      return range_contains(haystack.as<Range>(), needle);
    default:
      break;
  }
  if (!is_iterable(haystack)) {
    rt.type_error("argument of type '" + std::string(type_name(haystack)) + "' is not iterable");
  }
  Cursor cursor(rt, haystack);
  Value item;
  while (cursor.next(item)) {
    if (equal(rt, item, needle)) return true;
  }
  return false;
}

}  // namespace lancet::jinja
