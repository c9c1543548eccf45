// obj.name and obj[key] as Jinja's immutable sandbox resolves them: attributes before items for the
// dot, items before attributes for brackets; private names and mutating methods are hidden.

#include <algorithm>

#include "formats/template/loop.h"
#include "formats/template/print.h"
#include "formats/template/runtime.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

/// getattr(object, name) of Python, without items; false when there is none.
bool attribute(Runtime& rt, const Value& object, const Value& name, Value& out) {
  const std::string_view key = name.text();
  switch (object.kind()) {
    case Kind::kNamespace: {
      const Value* found = object.as<Namespace>().attributes.find(key);
      if (found == nullptr) return false;
      out = *found;
      return true;
    }
    case Kind::kLoop:
      return loop_attribute(rt, object, key, out);
    case Kind::kCycler:
      if (key != "current") break;
      out = object.as<Cycler>().items[object.as<Cycler>().position];
      return true;
    case Kind::kTuple:
      if (!object.as<List>().group || (key != "grouper" && key != "list")) break;
      out = object.as<List>().items[key == "list" ? 1 : 0];
      return true;
    default:
      break;
  }
  if (is_mutator(object.kind(), key)) {
    out = Value::undefined(Missing::kUnsafe, name, object.kind());
    return true;
  }
  bool supported = true;
  const Method::Body body = find_method(object.kind(), key, supported);
  if (!supported) {
    rt.error("method '" + std::string(key) + "' of '" + std::string(type_name(object)) +
             "' is not supported");
  }
  if (body == nullptr) return false;
  out = Value::object(&rt.make<Method>(0, name.text(), body, object));
  return true;
}

/// obj[key] of Python; false where it raises TypeError, IndexError or KeyError.
bool item(Runtime& rt, const Value& object, const Value& key, Value& out) {
  if (object.is(Kind::kDict)) {
    const auto& dict = object.as<Dict>();
    if (key.is(Kind::kList) || key.is(Kind::kDict)) return false;
    const Value* found = dict.find(rt, key);
    if (found == nullptr) return false;
    out = *found;
    return true;
  }
  if (!key.is_integral()) return false;
  if (!object.is_string() && !object.is_array() && !object.is(Kind::kRange)) return false;
  const std::int64_t size = length_of(rt, object);
  std::int64_t at = key.as_int();
  if (at < 0 && at >= -size) at += size;
  if (at < 0 || at >= size) return false;
  if (object.is(Kind::kRange)) {
    out = Value::integer(object.as<Range>().start + at * object.as<Range>().step);
  } else if (object.is_array()) {
    out = object.as<List>().items[static_cast<std::size_t>(at)];
  } else {
    const std::string_view text = object.text();
    rt.touch(static_cast<std::uint64_t>(at) * 4);
    const std::size_t from = byte_offset(text, static_cast<std::size_t>(at));
    out = rt.string(text.substr(from, code_point_bytes(text[from])), object.str().markup);
  }
  return true;
}

bool is_private(std::string_view name) noexcept { return !name.empty() && name[0] == '_'; }

/// Attributes that every Python object has and the sandbox hides.
bool is_dunder(std::string_view name) noexcept {
  static constexpr std::string_view kNames[] = {
      "__class__",   "__delattr__", "__dir__",           "__doc__",         "__eq__",
      "__format__",  "__ge__",      "__getattribute__",  "__getstate__",    "__gt__",
      "__hash__",    "__init__",    "__init_subclass__", "__le__",          "__lt__",
      "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",   "__repr__",
      "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace

void fail_undefined(Runtime& rt, const Value& value) {
  const std::string name(value.missing_name());
  switch (value.why()) {
    case Missing::kVariable:
      rt.error(name.empty() ? "an undefined value is used" : repr_text(name) + " is undefined");
    case Missing::kHint:
      rt.error(name);
    case Missing::kUnsafe:
      rt.error("access to attribute " + repr_text(name) + " of '" +
               std::string(type_name(value.of())) + "' object is unsafe.");
    case Missing::kAttribute:
      break;
  }
  const std::string of =
      value.of() == Kind::kNone ? "None" : std::string(type_name(value.of())) + " object";
  rt.error("'" + of + "' has no attribute " + repr_text(name));
}

Value get_attribute(Runtime& rt, const Value& object, const Value& name, bool items) {
  rt.step();
  if (object.is_undefined()) fail_undefined(rt, object);
  Value out;
  if (is_private(name.text())) {
    const bool namespaced = object.is(Kind::kNamespace) &&
                            object.as<Namespace>().attributes.find(name.text()) != nullptr;
    if (namespaced || (is_dunder(name.text()) && !object.is(Kind::kNamespace))) {
      return Value::undefined(Missing::kUnsafe, name, object.kind());
    }
  } else if (attribute(rt, object, name, out)) {
    return out;
  }
  if (items && item(rt, object, name, out)) return out;
  return Value::undefined(Missing::kAttribute, name, object.kind());
}

Value get_item(Runtime& rt, const Value& object, const Value& key) {
  rt.step();
  if (object.is_undefined()) fail_undefined(rt, object);
  Value out;
  if (item(rt, object, key, out)) return out;
  if (!key.is_string()) {
    const std::string of = object.is_none() ? "None" : std::string(type_name(object)) + " object";
    return Value::undefined(Missing::kHint, rt.string(of + " has no element " + repr(rt, key)),
                            object.kind());
  }
  if (is_private(key.text())) {
    const bool unsafe = is_dunder(key.text()) && !object.is(Kind::kNamespace);
    return Value::undefined(unsafe ? Missing::kUnsafe : Missing::kAttribute, key, object.kind());
  }
  if (attribute(rt, object, key, out)) return out;
  return Value::undefined(Missing::kAttribute, key, object.kind());
}

}  // namespace lancet::jinja
