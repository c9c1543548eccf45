// Global functions: those of Jinja's sandbox and the two that transformers adds.

#include "formats/template/filters.h"
#include "formats/template/print.h"

namespace lancet::jinja {
namespace {

constexpr std::int64_t kMaximumRange = 100'000;  ///< Jinja's MAX_RANGE

Value range(Runtime& rt, const Arguments& arguments) {
  const Parameters given(rt, arguments, "range", {"start", "stop", "step"}, 1);
  const bool one = given[1] == nullptr;
  const std::int64_t start = one ? 0 : given.integer(0, 0);
  const std::int64_t stop = one ? given.integer(0, 0) : given.integer(1, 0);
  const std::int64_t step = given.integer(2, 1);
  if (step == 0) rt.error("ValueError: range() arg 3 must not be zero");
  std::uint64_t length = 0;
  if (step > 0 && start < stop) {
    const std::uint64_t gap = static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start);
    length = (gap - 1) / static_cast<std::uint64_t>(step) + 1;
  } else if (step < 0 && start > stop) {
    const std::uint64_t gap = static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop);
    length = (gap - 1) / (0 - static_cast<std::uint64_t>(step)) + 1;
  }
  if (length > static_cast<std::uint64_t>(kMaximumRange)) {
    rt.error("OverflowError: Range too big. The sandbox blocks ranges larger than 100000.");
  }
  return Value::object(&rt.make<Range>(0, start, stop, step, static_cast<std::int64_t>(length)));
}

/// The arguments of dict(...) and namespace(...): a mapping or pairs, then keywords.
void fill(Runtime& rt, const Arguments& arguments, Dict& dict) {
  if (arguments.positional.size() > 1) rt.type_error("dict expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Kind::kDict)) {
      for (const auto& [key, value] : source.as<Dict>().entries) dict.set(rt, key, value);
    } else {
      Cursor cursor(rt, source);
      Value pair;
      while (cursor.next(pair)) {
        const std::vector<Value> parts = collect(rt, pair);
        if (parts.size() != 2) rt.error("ValueError: dictionary update sequence needs pairs");
        dict.set(rt, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(rt, rt.string(name), value);
}

Value dict(Runtime& rt, const Arguments& arguments) {
  Dict& made = rt.dict();
  fill(rt, arguments, made);
  return Value::object(&made);
}

Value make_namespace(Runtime& rt, const Arguments& arguments) {
  auto& made = rt.make<Namespace>(0);
  fill(rt, arguments, made.attributes);
  return Value::object(&made);
}

Value raise_exception(Runtime& rt, const Arguments& arguments) {
  const Parameters given(rt, arguments, "raise_exception", {"message"}, 1);
  rt.error(to_text(rt, *given[0]));
}

Value strftime_now(Runtime& rt, const Arguments& arguments) {
  const Parameters given(rt, arguments, "strftime_now", {"format"}, 1);
  return rt.string(format_time(rt, given.text(0, {}), rt.now()));
}

Value cycler(Runtime& rt, const Arguments& arguments) {
  if (arguments.positional.empty()) rt.error("RuntimeError: at least one item has to be provided");
  auto& made = rt.make<Cycler>(arguments.positional.size() * sizeof(Value));
  made.items = arguments.positional;
  return Value::object(&made);
}

Value joiner(Runtime& rt, const Arguments& arguments) {
  const Parameters given(rt, arguments, "joiner", {"sep"});
  auto& made = rt.make<Joiner>(0);
  made.separator = given[0] == nullptr ? rt.string(", ") : *given[0];
  return Value::object(&made);
}

}  // namespace

const std::vector<std::pair<std::string_view, Function::Body>>& global_functions() {
  static const std::vector<std::pair<std::string_view, Function::Body>> table = {
      {"range", &range},
      {"dict", &dict},
      {"namespace", &make_namespace},
      {"raise_exception", &raise_exception},
      {"strftime_now", &strftime_now},
      {"cycler", &cycler},
      {"joiner", &joiner}};
  return table;
}

}  // namespace lancet::jinja
