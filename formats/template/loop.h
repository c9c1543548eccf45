#pragma once
// The `loop` variable of a for statement: looks ahead only when asked, as Jinja's does.

#include <functional>
#include <string_view>

#include "formats/template/value.h"

namespace lancet::jinja {

struct ForNode;
struct Scope;

struct Loop : Object {
  /// `source` hands out the next item; `size` is the length of the iterable or -1 when only
  /// counting tells it.
  Loop(std::function<bool(Value&)> source, std::int64_t size)
      : Object(Kind::kLoop), fetch(std::move(source)), length(size) {}

  /// Advances; false at the end.
  bool next();
  /// Looks at the item after the current one; false when there is none.
  bool peek();
  /// Number of items, reading the rest of the iterable if it must.
  std::int64_t count();

  std::function<bool(Value&)> fetch;
  std::int64_t length;
  std::int64_t index0 = -1;
  int depth0 = 0;
  Value before, current, after;
  bool has_after = false;
  bool done = false;         ///< the source has ended
  std::vector<Value> ahead;  ///< items that count() has read, from `ahead_at` on
  std::size_t ahead_at = 0;
  Value changed;  ///< arguments of the last call of loop.changed
  bool was_called = false;
  const ForNode* recursive = nullptr;  ///< the statement, when it is marked `recursive`
  Scope* outer = nullptr;

 private:
  bool pull(Value& out);
};

/// loop.name; false when there is no such attribute.
bool loop_attribute(Runtime& rt, const Value& loop, std::string_view name, Value& out);
[[nodiscard]] Value loop_cycle(Runtime& rt, const Value& loop, const Arguments& arguments);
[[nodiscard]] Value loop_changed(Runtime& rt, const Value& loop, const Arguments& arguments);

}  // namespace lancet::jinja
