// Methods of lists, tuples, dicts, cyclers and loops, and the table of all methods.

#include "formats/template/methods.h"

#include <algorithm>

#include "formats/template/loop.h"

namespace lancet::jinja {
namespace {

Value dict_get(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "get", {"key", "default"}, 1);
  const Value* found = self.as<Dict>().find(rt, *given[0]);
  if (found != nullptr) return *found;
  return given[1] != nullptr ? *given[1] : Value::none();
}

Value dict_view(Runtime& rt, const Value& self, const Arguments& arguments, View::Of of) {
  const Parameters given(rt, arguments, "the method", {});
  return Value::object(&rt.make<View>(0, &self.as<Dict>(), of));
}
Value dict_items(Runtime& rt, const Value& self, const Arguments& arguments) {
  return dict_view(rt, self, arguments, View::Of::kItems);
}
Value dict_keys(Runtime& rt, const Value& self, const Arguments& arguments) {
  return dict_view(rt, self, arguments, View::Of::kKeys);
}
Value dict_values(Runtime& rt, const Value& self, const Arguments& arguments) {
  return dict_view(rt, self, arguments, View::Of::kValues);
}

/// Lists and dicts never change, so a copy is the thing itself.
Value copy_itself(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "copy", {});
  return self;
}

Value list_count(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "count", {"value"}, 1);
  std::int64_t count = 0;
  for (const Value& item : self.as<List>().items) count += equal(rt, item, *given[0]) ? 1 : 0;
  return Value::integer(count);
}

Value list_index(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "index", {"value", "start", "stop"}, 1);
  const auto& items = self.as<List>().items;
  const auto size = static_cast<std::int64_t>(items.size());
  const auto clamp = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const std::int64_t stop = clamp(given.integer(2, size));
  for (std::int64_t i = clamp(given.integer(1, 0)); i < stop; ++i) {
    if (equal(rt, items[static_cast<std::size_t>(i)], *given[0])) return Value::integer(i);
  }
  rt.error("ValueError: the value is not in the list");
}

Value cycler_next(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "next", {});
  auto& cycler = self.as<Cycler>();
  const std::size_t at = cycler.position;
  cycler.position = (at + 1) % cycler.items.size();
  return cycler.items[at];
}

Value cycler_reset(Runtime& rt, const Value& self, const Arguments& arguments) {
  const Parameters given(rt, arguments, "reset", {});
  self.as<Cycler>().position = 0;
  return Value::none();
}

const std::vector<MethodEntry>& dict_methods() {
  static const std::vector<MethodEntry> table = {{"copy", &copy_itself},   {"get", &dict_get},
                                                 {"items", &dict_items},   {"keys", &dict_keys},
                                                 {"values", &dict_values}, {"fromkeys", nullptr}};
  return table;
}

const std::vector<MethodEntry>& list_methods() {
  static const std::vector<MethodEntry> table = {
      {"copy", &copy_itself}, {"count", &list_count}, {"index", &list_index}};
  return table;
}

const std::vector<MethodEntry>& tuple_methods() {
  static const std::vector<MethodEntry> table = {{"count", &list_count}, {"index", &list_index}};
  return table;
}

const std::vector<MethodEntry>& cycler_methods() {
  static const std::vector<MethodEntry> table = {{"next", &cycler_next}, {"reset", &cycler_reset}};
  return table;
}

/// Attributes of other Python types that are not offered here.
const std::vector<MethodEntry>& number_attributes() {
  static const std::vector<MethodEntry> table = {{"as_integer_ratio", nullptr},
                                                 {"bit_count", nullptr},
                                                 {"bit_length", nullptr},
                                                 {"conjugate", nullptr},
                                                 {"denominator", nullptr},
                                                 {"hex", nullptr},
                                                 {"imag", nullptr},
                                                 {"is_integer", nullptr},
                                                 {"numerator", nullptr},
                                                 {"real", nullptr}};
  return table;
}
const std::vector<MethodEntry>& range_attributes() {
  static const std::vector<MethodEntry> table = {{"count", nullptr},
                                                 {"index", nullptr},
                                                 {"start", nullptr},
                                                 {"step", nullptr},
                                                 {"stop", nullptr}};
  return table;
}
const std::vector<MethodEntry>& macro_attributes() {
  static const std::vector<MethodEntry> table = {{"arguments", nullptr},
                                                 {"caller", nullptr},
                                                 {"catch_kwargs", nullptr},
                                                 {"catch_varargs", nullptr},
                                                 {"name", nullptr}};
  return table;
}

const std::vector<MethodEntry>& methods_of(Kind kind) {
  static const std::vector<MethodEntry> none;
  switch (kind) {
    case Kind::kString:
      return text_methods();
    case Kind::kDict:
      return dict_methods();
    case Kind::kList:
      return list_methods();
    case Kind::kTuple:
      return tuple_methods();
    case Kind::kCycler:
      return cycler_methods();
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return number_attributes();
    case Kind::kRange:
      return range_attributes();
    case Kind::kMacro:
      return macro_attributes();
    default:
      return none;
  }
}

}  // namespace

Method::Body find_method(Kind kind, std::string_view name, bool& supported) noexcept {
  for (const auto& [title, body] : methods_of(kind)) {
    if (title == name) {
      supported = body != nullptr;
      return body;
    }
  }
  return nullptr;
}

bool is_mutator(Kind kind, std::string_view name) noexcept {
  static constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                               "pop",    "remove", "reverse", "sort"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (kind == Kind::kList)
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  if (kind == Kind::kDict)
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return false;
}

}  // namespace lancet::jinja
