#include "formats/template/loop.h"

#include "formats/template/runtime.h"

namespace lancet::jinja {

bool Loop::pull(Value& out) {
  if (ahead_at < ahead.size()) {
    out = ahead[ahead_at++];
    return true;
  }
  if (done) return false;
  done = !fetch(out);
  return !done;
}

bool Loop::next() {
  Value item;
  if (has_after) {
    item = std::move(after);
    has_after = false;
  } else if (!pull(item)) {
    return false;
  }
  ++index0;
  before = std::move(current);
  current = std::move(item);
  return true;
}

bool Loop::peek() {
  if (!has_after) has_after = pull(after);
  return has_after;
}

std::int64_t Loop::count() {
  if (length < 0) {
    Value item;
    while (!done && fetch(item)) ahead.push_back(std::move(item));
    done = true;
    length = index0 + 1 + (has_after ? 1 : 0) + static_cast<std::int64_t>(ahead.size());
  }
  return length;
}

bool loop_attribute(Runtime& rt, const Value& value, std::string_view name, Value& out) {
  auto& loop = value.as<Loop>();
  if (name == "index0")
    out = Value::integer(loop.index0);
  else if (name == "index")
    out = Value::integer(loop.index0 + 1);
  else if (name == "first")
    out = Value::boolean(loop.index0 == 0);
  else if (name == "last")
    out = Value::boolean(!loop.peek());
  else if (name == "length")
    out = Value::integer(loop.count());
  else if (name == "revindex0")
    out = Value::integer(loop.count() - loop.index0 - 1);
  else if (name == "revindex")
    out = Value::integer(loop.count() - loop.index0);
  else if (name == "depth0")
    out = Value::integer(loop.depth0);
  else if (name == "depth")
    out = Value::integer(loop.depth0 + 1);
  else if (name == "previtem") {
    out = loop.index0 > 0
              ? loop.before
              : Value::undefined(Missing::kHint, rt.string("there is no previous item"));
  } else if (name == "nextitem") {
    out = loop.peek() ? loop.after
                      : Value::undefined(Missing::kHint, rt.string("there is no next item"));
  } else if (name == "cycle") {
    out = Value::object(&rt.make<Method>(0, "cycle", &loop_cycle, value));
  } else if (name == "changed") {
    out = Value::object(&rt.make<Method>(0, "changed", &loop_changed, value));
  } else {
    return false;
  }
  return true;
}

Value loop_cycle(Runtime& rt, const Value& value, const Arguments& arguments) {
  if (arguments.positional.empty()) rt.type_error("no items for cycling given");
  if (!arguments.named.empty()) rt.type_error("cycle() takes no keyword arguments");
  const auto at = static_cast<std::uint64_t>(value.as<Loop>().index0);
  return arguments.positional[at % arguments.positional.size()];
}

Value loop_changed(Runtime& rt, const Value& value, const Arguments& arguments) {
  auto& loop = value.as<Loop>();
  const Value now = rt.tuple(arguments.positional);
  if (loop.was_called && equal(rt, loop.changed, now)) return Value::boolean(false);
  loop.changed = now;
  loop.was_called = true;
  return Value::boolean(true);
}

}  // namespace lancet::jinja
