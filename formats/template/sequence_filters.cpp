// Filters that read a whole sequence at once, and the table of all filters.

#include <algorithm>
#include <numeric>

#include "formats/template/filters.h"
#include "formats/template/print.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

/// Stable order of `keys`; ties keep their order also in reverse.
std::vector<std::size_t> sorted_order(Runtime& rt, const std::vector<Value>& keys, bool reverse) {
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return reverse ? less(rt, keys[b], keys[a]) : less(rt, keys[a], keys[b]);
  });
  return order;
}

/// Keys of the attributes "a,b.c" of each item; strings without case unless asked.
std::vector<Value> sort_keys(Runtime& rt, const std::vector<Value>& items, const Value* attribute,
                             bool case_sensitive) {
  std::vector<std::vector<Value>> paths;
  if (attribute != nullptr && attribute->is_string()) {
    std::string_view text = attribute->text();
    for (std::size_t comma = 0; comma != std::string_view::npos;) {
      comma = text.find(',');
      const Value part = rt.string(text.substr(0, comma));
      paths.push_back(attribute_path(rt, &part));
      if (comma != std::string_view::npos) text = text.substr(comma + 1);
    }
  } else {
    paths.push_back(attribute_path(rt, attribute));
  }
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    std::vector<Value> parts;
    for (const auto& path : paths) {
      const Value key = follow_path(rt, item, path);
      parts.push_back(case_sensitive ? key : ignore_case(rt, key));
    }
    keys.push_back(
        rt.list(std::move(parts)));  // lists, as Jinja's keys: equal ones are not ordered
  }
  return keys;
}

std::vector<Value> permuted(const std::vector<Value>& items,
                            const std::vector<std::size_t>& order) {
  std::vector<Value> out;
  out.reserve(order.size());
  for (const std::size_t at : order) out.push_back(items[at]);
  return out;
}

Value sort(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "sort", {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = collect(rt, value);
  const std::vector<Value> keys = sort_keys(rt, items, given[2], given.flag(1, false));
  return rt.list(permuted(items, sorted_order(rt, keys, given.flag(0, false))));
}

Value dictsort(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string_view by = given.text(1, "key");
  if (by != "key" && by != "value") rt.error("You can only sort by either \"key\" or \"value\"");
  if (value.is_undefined()) fail_undefined(rt, value);
  if (!value.is(Kind::kDict))
    rt.error("AttributeError: '" + std::string(type_name(value)) +
             "' object has no attribute 'items'");
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, item] : value.as<Dict>().entries) {
    const Value& chosen = by == "key" ? key : item;
    keys.push_back(given.flag(0, false) ? chosen : ignore_case(rt, chosen));
    items.push_back(rt.tuple({key, item}));
  }
  return rt.list(permuted(items, sorted_order(rt, keys, given.flag(2, false))));
}

Value groupby(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  const std::vector<Value> items = collect(rt, value);
  const std::vector<Value> path = attribute_path(rt, given[0]);
  const bool case_sensitive = given.flag(2, false);
  std::vector<Value> real;
  std::vector<Value> keys;
  for (const Value& item : items) {
    Value key = follow_path(rt, item, path);
    if (key.is_undefined() && !given.absent(1)) key = *given[1];
    real.push_back(key);
    keys.push_back(case_sensitive ? key : ignore_case(rt, key));
  }
  const std::vector<std::size_t> order = sorted_order(rt, keys, false);
  std::vector<Value> groups;
  for (std::size_t from = 0; from < order.size();) {
    std::vector<Value> members;
    std::size_t to = from;
    for (; to < order.size() && equal(rt, keys[order[from]], keys[order[to]]); ++to) {
      members.push_back(items[order[to]]);
    }
    const Value group = rt.tuple({real[order[from]], rt.list(std::move(members))});
    group.as<List>().group = true;
    groups.push_back(group);
    from = std::max(to, from + 1);
  }
  return rt.list(std::move(groups));
}

Value join(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "join", {"d", "attribute"});
  const std::string separator = given[0] == nullptr ? "" : to_text(rt, *given[0]);
  const std::vector<Value> path = attribute_path(rt, given[1]);
  Cursor cursor(rt, value);
  std::string out;
  Value item;
  for (bool first = true; cursor.next(item); first = false) {
    const Value part = to_string_value(rt, follow_path(rt, item, path));
    rt.touch(part.text().size() + separator.size());
    rt.check_size(out.size() + part.text().size() + separator.size());
    if (!first) out += separator;
    out += part.text();
  }
  return rt.string(std::move(out));
}

Value list(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "list", {});
  return rt.list(collect(rt, value));
}

Value first(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "first", {});
  Cursor cursor(rt, value);
  Value item;
  if (cursor.next(item)) return item;
  return Value::undefined(Missing::kHint, rt.string("No first item, sequence was empty."));
}

Value last(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "last", {});
  if (!has_length(value))
    rt.type_error("'" + std::string(type_name(value)) + "' object is not reversible");
  const std::vector<Value> items = collect(rt, value);
  if (!items.empty()) return items.back();
  return Value::undefined(Missing::kHint, rt.string("No last item, sequence was empty."));
}

struct Reversed : Iterator {
  explicit Reversed(std::vector<Value> v) : items(std::move(v)) {}
  bool next(Runtime&, Value& out) override {
    if (items.empty()) return false;
    out = items.back();
    items.pop_back();
    return true;
  }
  std::vector<Value> items;
};

Value reverse(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "reverse", {});
  if (value.is_string())
    return get_slice(rt, value, Value::none(), Value::none(), Value::integer(-1));
  if (!is_iterable(value)) rt.error("argument must be iterable");
  std::vector<Value> items = collect(rt, value);
  if (has_length(value)) {
    const std::uint64_t bytes = items.size() * sizeof(Value);
    return Value::object(&rt.make<Reversed>(bytes, std::move(items)));
  }
  std::reverse(items.begin(), items.end());
  return rt.list(std::move(items));
}

Value sum(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "sum", {"attribute", "start"});
  const std::vector<Value> path = attribute_path(rt, given[0]);
  Value total = given[1] == nullptr ? Value::integer(0) : *given[1];
  if (total.is_string()) rt.type_error("sum() can't sum strings [use ''.join(seq) instead]");
  Cursor cursor(rt, value);
  Value item;
  while (cursor.next(item)) total = binary(rt, Operator::kAdd, total, follow_path(rt, item, path));
  return total;
}

template <bool largest>
Value extreme(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, largest ? "max" : "min", {"case_sensitive", "attribute"});
  const std::vector<Value> path = attribute_path(rt, given[1]);
  const bool case_sensitive = given.flag(0, false);
  Cursor cursor(rt, value);
  Value item;
  Value best;
  Value best_key;
  for (bool first = true; cursor.next(item); first = false) {
    Value key = follow_path(rt, item, path);
    if (!case_sensitive) key = ignore_case(rt, key);
    if (first || (largest ? less(rt, best_key, key, ">") : less(rt, key, best_key))) {
      best = item;
      best_key = key;
    }
  }
  if (best_key.is_undefined() && best.is_undefined() && best.missing_name().empty()) {
    return Value::undefined(Missing::kHint, rt.string("No aggregated item, sequence was empty."));
  }
  return best;
}

const std::vector<FilterEntry>& all_filters() {
  static const std::vector<FilterEntry> table = [] {
    std::vector<FilterEntry> all = text_filters();
    all.insert(all.end(), sequence_filters().begin(), sequence_filters().end());
    all.insert(all.end(), lazy_filters().begin(), lazy_filters().end());
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return all;
  }();
  return table;
}

}  // namespace

const std::vector<FilterEntry>& sequence_filters() {
  static const std::vector<FilterEntry> table = {{"dictsort", &dictsort},
                                                 {"first", &first},
                                                 {"groupby", &groupby},
                                                 {"join", &join},
                                                 {"last", &last},
                                                 {"list", &list},
                                                 {"max", &extreme<true>},
                                                 {"min", &extreme<false>},
                                                 {"reverse", &reverse},
                                                 {"sort", &sort},
                                                 {"sum", &sum}};
  return table;
}

Filter find_filter(std::string_view name) noexcept {
  const auto& table = all_filters();
  const auto at =
      std::lower_bound(table.begin(), table.end(), name,
                       [](const auto& entry, std::string_view n) { return entry.first < n; });
  return at != table.end() && at->first == name ? at->second : nullptr;
}

std::string unknown_filter(std::string_view name) {
  static constexpr std::string_view kJinja[] = {"filesizeformat", "pprint", "random",   "striptags",
                                                "urlencode",      "urlize", "wordwrap", "xmlattr"};
  if (std::find(std::begin(kJinja), std::end(kJinja), name) != std::end(kJinja)) {
    return "the filter '" + std::string(name) + "' is not supported in chat templates";
  }
  return "No filter named '" + std::string(name) + "'.";
}

std::vector<Value> attribute_path(Runtime& rt, const Value* attribute) {
  std::vector<Value> path;
  if (attribute == nullptr || attribute->is_none()) return path;
  if (!attribute->is_string()) return {*attribute};
  std::string_view text = attribute->text();
  for (;;) {
    rt.step();
    const std::size_t dot = text.find('.');
    const std::string_view part = text.substr(0, dot);
    std::int64_t index = 0;
    bool too_big = false;
    const bool digits =
        !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    path.push_back(digits && parse_integer(part, 10, index, too_big) ? Value::integer(index)
                                                                     : rt.string(part));
    if (dot == std::string_view::npos) return path;
    text = text.substr(dot + 1);
  }
}

Value follow_path(Runtime& rt, Value value, const std::vector<Value>& path) {
  for (const Value& part : path) value = get_item(rt, value, part);
  return value;
}

Value ignore_case(Runtime& rt, const Value& value) {
  if (!value.is_string()) return value;
  rt.touch(value.text().size() * 32);
  return rt.string(to_lower(value.text()));
}

}  // namespace lancet::jinja
