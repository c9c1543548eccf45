// The tests of `value is test`.

#include <algorithm>

#include "formats/template/filters.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

using TestEntry = std::pair<std::string_view, Test>;

void no_arguments(Runtime& rt, const Arguments& arguments) {
  const Parameters given(rt, arguments, "test", {});
}

bool remainder_is(Runtime& rt, const Value& value, std::int64_t divisor, std::int64_t expected) {
  const Value rest = binary(rt, Operator::kMod, value, Value::integer(divisor));
  return equal(rt, rest, Value::integer(expected));
}

bool odd(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return remainder_is(rt, value, 2, 1);
}
bool even(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return remainder_is(rt, value, 2, 0);
}
bool divisibleby(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "divisibleby", {"num"}, 1);
  return equal(rt, binary(rt, Operator::kMod, value, *given[0]), Value::integer(0));
}

using Predicate = bool (*)(const Value&);
template <Predicate predicate>
bool plain(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return predicate(value);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.is(Kind::kBool); }
bool is_true(const Value& v) { return v.is(Kind::kBool) && v.as_int() != 0; }
bool is_false(const Value& v) { return v.is(Kind::kBool) && v.as_int() == 0; }
bool is_integer(const Value& v) { return v.is(Kind::kInt); }
bool is_float(const Value& v) { return v.is(Kind::kFloat); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is(Kind::kDict); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_escaped(const Value& v) { return v.is_string() && v.str().markup; }
bool iterable(const Value& v) { return is_iterable(v) || v.is(Kind::kLoop); }
bool is_sequence(const Value& v) { return has_length(v) && !v.is(Kind::kView); }
bool is_callable(const Value& v) {
  switch (v.kind()) {
    case Kind::kUndefined:
    case Kind::kMacro:
    case Kind::kFunction:
    case Kind::kMethod:
    case Kind::kLoop:
    case Kind::kJoiner:
      return true;
    default:
      return false;
  }
}

bool lower(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return is_lower_text(to_text(rt, value));
}
bool upper(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return is_upper_text(to_text(rt, value));
}

bool is_filter_name(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return value.is_string() && find_filter(value.text()) != nullptr;
}
bool is_test_name(Runtime& rt, const Value& value, const Arguments& arguments) {
  no_arguments(rt, arguments);
  return value.is_string() && find_test(value.text()) != nullptr;
}

/// Python's `is`: small integers and the singletons are one object each.
bool sameas(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "sameas", {"other"}, 1);
  const Value& other = *given[0];
  if (value.kind() != other.kind()) return false;
  switch (value.kind()) {
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return value.as_int() == other.as_int();
    case Kind::kInt:
      return value.as_int() == other.as_int() && value.as_int() >= -5 && value.as_int() <= 256;
    case Kind::kString:
      return &value.str() == &other.str();
    case Kind::kUndefined:
    case Kind::kFloat:
      return false;
    default:
      return value.heap() == other.heap();
  }
}

bool in(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "in", {"seq"}, 1);
  return contains(rt, *given[0], value);
}

template <Comparison comparison>
bool compare(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "comparison", {"other"}, 1);
  const Value& other = *given[0];
  switch (comparison) {
    case Comparison::kEq:
      return equal(rt, value, other);
    case Comparison::kNe:
      return !equal(rt, value, other);
    case Comparison::kLt:
      return less(rt, value, other);
    case Comparison::kGt:
      return less(rt, other, value, ">");
    case Comparison::kLe:
      return less_or_equal(rt, value, other);
    default:
      return less_or_equal(rt, other, value, ">=");
  }
}

const std::vector<TestEntry>& all_tests() {
  static const std::vector<TestEntry> table = {{"!=", &compare<Comparison::kNe>},
                                               {"<", &compare<Comparison::kLt>},
                                               {"<=", &compare<Comparison::kLe>},
                                               {"==", &compare<Comparison::kEq>},
                                               {">", &compare<Comparison::kGt>},
                                               {">=", &compare<Comparison::kGe>},
                                               {"boolean", &plain<&is_boolean>},
                                               {"callable", &plain<&is_callable>},
                                               {"defined", &plain<&is_defined>},
                                               {"divisibleby", &divisibleby},
                                               {"eq", &compare<Comparison::kEq>},
                                               {"equalto", &compare<Comparison::kEq>},
                                               {"escaped", &plain<&is_escaped>},
                                               {"even", &even},
                                               {"false", &plain<&is_false>},
                                               {"filter", &is_filter_name},
                                               {"float", &plain<&is_float>},
                                               {"ge", &compare<Comparison::kGe>},
                                               {"greaterthan", &compare<Comparison::kGt>},
                                               {"gt", &compare<Comparison::kGt>},
                                               {"in", &in},
                                               {"integer", &plain<&is_integer>},
                                               {"iterable", &plain<&iterable>},
                                               {"le", &compare<Comparison::kLe>},
                                               {"lessthan", &compare<Comparison::kLt>},
                                               {"lower", &lower},
                                               {"lt", &compare<Comparison::kLt>},
                                               {"mapping", &plain<&is_mapping>},
                                               {"ne", &compare<Comparison::kNe>},
                                               {"none", &plain<&is_none>},
                                               {"number", &plain<&is_number>},
                                               {"odd", &odd},
                                               {"sameas", &sameas},
                                               {"sequence", &plain<&is_sequence>},
                                               {"string", &plain<&is_string>},
                                               {"test", &is_test_name},
                                               {"true", &plain<&is_true>},
                                               {"undefined", &plain<&is_undefined>},
                                               {"upper", &upper}};
  return table;
}

}  // namespace

Test find_test(std::string_view name) noexcept {
  const auto& table = all_tests();
  const auto at = std::find_if(table.begin(), table.end(),
                               [&](const auto& entry) { return entry.first == name; });
  return at == table.end() ? nullptr : at->second;
}

std::string unknown_test(std::string_view name) {
  return "No test named '" + std::string(name) + "'.";
}

}  // namespace lancet::jinja
