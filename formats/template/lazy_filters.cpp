// Filters that are generators in Jinja: they compute an item when it is asked for, once.

#include <functional>
#include <memory>

#include "formats/template/filters.h"
#include "formats/template/runtime.h"

namespace lancet::jinja {
namespace {

/// A generator whose `advance` starts at the first item.
struct Generator : Iterator {
  explicit Generator(std::function<bool(Runtime&, Value&)> f) : advance(std::move(f)) {}
  bool next(Runtime& rt, Value& out) override {
    if (ended) return false;
    ended = !advance(rt, out);
    return !ended;
  }
  std::function<bool(Runtime&, Value&)> advance;
  bool ended = false;
};

/// The source of a generator: opened by the first call, so that its errors come then.
class Source {
 public:
  Source(Value value, bool skip_false) : value_(std::move(value)), skip_false_(skip_false) {}
  bool next(Runtime& rt, Value& out) {
    if (cursor_ == nullptr) {
      if (skip_false_ && !truthy(value_)) return false;
      cursor_ = std::make_shared<Cursor>(rt, value_);
    }
    return cursor_->next(out);
  }

 private:
  Value value_;
  bool skip_false_;  ///< `if value:` before the loop
  std::shared_ptr<Cursor> cursor_;
};

Value generator(Runtime& rt, std::function<bool(Runtime&, Value&)> advance) {
  return Value::object(&rt.make<Generator>(256, std::move(advance)));
}

Value items(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "items", {});
  return generator(rt, [value, at = std::size_t{0}](Runtime& run, Value& out) mutable {
    if (value.is_undefined()) return false;
    if (!value.is(Kind::kDict)) run.type_error("Can only get item pairs from a mapping.");
    const auto& entries = value.as<Dict>().entries;
    if (at >= entries.size()) return false;
    out = run.tuple({entries[at].first, entries[at].second});
    ++at;
    return true;
  });
}

const Value* named(const Arguments& arguments, std::string_view name) {
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

/// map(attribute=..., default=...).
Value map_attribute(Runtime& rt, const Value& value, const Arguments& arguments) {
  return generator(
      rt, [source = Source(value, true), arguments = arguments, path = std::vector<Value>(),
           opened = false](Runtime& run, Value& out) mutable {
        if (!source.next(run, out)) return false;
        const Value* fallback = named(arguments, "default");
        if (!opened) {
          for (const auto& [key, unused] : arguments.named) {
            if (key != "attribute" && key != "default") {
              run.error("Unexpected keyword argument '" + std::string(key) + "'");
            }
          }
          path = attribute_path(run, named(arguments, "attribute"));
          opened = true;
        }
        for (const Value& part : path) {
          out = get_item(run, out, part);
          if (out.is_undefined() && fallback != nullptr && !fallback->is_none()) out = *fallback;
        }
        return true;
      });
}

Value map(Runtime& rt, const Value& value, const Arguments& arguments) {
  if (arguments.positional.empty() && named(arguments, "attribute") != nullptr) {
    return map_attribute(rt, value, arguments);
  }
  return generator(rt, [source = Source(value, true), arguments = arguments,
                        filter = Filter(nullptr)](Runtime& run, Value& out) mutable {
    Value item;
    if (!source.next(run, item)) return false;
    if (filter == nullptr) {
      if (arguments.positional.empty()) run.error("map requires a filter argument");
      const Value name = arguments.positional[0];
      if (!name.is_string()) run.type_error("map(): the name of a filter is required");
      filter = find_filter(name.text());
      if (filter == nullptr) run.error(unknown_filter(name.text()));
      arguments.positional.erase(arguments.positional.begin());
    }
    out = filter(run, item, arguments);
    return true;
  });
}

/// The test that select, reject, selectattr and rejectattr apply.
struct Selection {
  Selection(const Value& value, Arguments given, bool of_attribute, bool keep_true)
      : source(value, true),
        arguments(std::move(given)),
        attribute(of_attribute),
        keep(keep_true) {}

  void open(Runtime& rt) {
    std::size_t used = 0;
    if (attribute) {
      if (arguments.positional.empty()) rt.error("Missing parameter for attribute name");
      path = attribute_path(rt, &arguments.positional[used++]);
    }
    if (arguments.positional.size() > used) {
      const Value name = arguments.positional[used++];
      if (!name.is_string()) rt.type_error("select(): the name of a test is required");
      test = find_test(name.text());
      if (test == nullptr) rt.error(unknown_test(name.text()));
    }
    arguments.positional.erase(arguments.positional.begin(),
                               arguments.positional.begin() + static_cast<std::ptrdiff_t>(used));
    opened = true;
  }

  bool next(Runtime& rt, Value& out) {
    while (source.next(rt, out)) {
      if (!opened) open(rt);
      const Value subject = follow_path(rt, out, path);
      const bool holds = test == nullptr ? truthy(subject) : test(rt, subject, arguments);
      if (holds == keep) return true;
    }
    return false;
  }

  Source source;
  Arguments arguments;
  bool attribute;
  bool keep;
  bool opened = false;
  Test test = nullptr;
  std::vector<Value> path;
};

template <bool of_attribute, bool keep>
Value select(Runtime& rt, const Value& value, const Arguments& arguments) {
  return generator(rt, [selection = Selection(value, arguments, of_attribute, keep)](
                           Runtime& run, Value& out) mutable { return selection.next(run, out); });
}

Value unique(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "unique", {"case_sensitive", "attribute"});
  const bool case_sensitive = given.flag(0, false);
  return generator(
      rt, [source = Source(value, false), case_sensitive, path = attribute_path(rt, given[1]),
           seen = &rt.dict()](Runtime& run, Value& out) mutable {
        while (source.next(run, out)) {
          Value key = follow_path(run, out, path);
          if (!case_sensitive) key = ignore_case(run, key);
          if (seen->find(run, key) != nullptr) continue;
          seen->set(run, key, Value::none());
          return true;
        }
        return false;
      });
}

Value batch(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "batch", {"linecount", "fill_with"}, 1);
  const std::int64_t size = given.integer(0, 0);
  const Value fill = given.absent(1) ? Value::none() : *given[1];
  return generator(rt, [source = Source(value, false), size, fill, held = Value(),
                        has_held = false](Runtime& run, Value& out) mutable {
    std::vector<Value> row;
    Value item;
    if (has_held) row.push_back(held);
    has_held = false;
    while (source.next(run, item)) {
      if (static_cast<std::int64_t>(row.size()) == size) {
        held = item;
        has_held = true;
        break;
      }
      row.push_back(item);
    }
    if (row.empty() && !has_held) return false;
    run.check_size(static_cast<std::uint64_t>(std::max<std::int64_t>(size, 0)));
    while (!has_held && !fill.is_none() && static_cast<std::int64_t>(row.size()) < size) {
      run.step();
      row.push_back(fill);
    }
    out = run.list(std::move(row));
    return true;
  });
}

Value slice(Runtime& rt, const Value& value, const Arguments& arguments) {
  const Parameters given(rt, arguments, "slice", {"slices", "fill_with"}, 1);
  const std::int64_t slices = given.integer(0, 0);
  const Value fill = given.absent(1) ? Value::none() : *given[1];
  return generator(rt, [value, slices, fill, items = std::vector<Value>(), at = std::int64_t{0},
                        from = std::size_t{0}](Runtime& run, Value& out) mutable {
    if (at == 0) {
      items = collect(run, value);
      if (slices == 0) run.error("ZeroDivisionError: integer division or modulo by zero");
    }
    if (at >= slices) return false;
    const std::size_t each = items.size() / static_cast<std::size_t>(slices);
    const bool longer =
        at < static_cast<std::int64_t>(items.size() % static_cast<std::size_t>(slices));
    const std::size_t to = from + each + (longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(from),
                            items.begin() + static_cast<std::ptrdiff_t>(to));
    if (!fill.is_none() && !longer) part.push_back(fill);
    from = to;
    ++at;
    out = run.list(std::move(part));
    return true;
  });
}

}  // namespace

const std::vector<FilterEntry>& lazy_filters() {
  static const std::vector<FilterEntry> table = {{"batch", &batch},
                                                 {"items", &items},
                                                 {"map", &map},
                                                 {"reject", &select<false, false>},
                                                 {"rejectattr", &select<true, false>},
                                                 {"select", &select<false, true>},
                                                 {"selectattr", &select<true, true>},
                                                 {"slice", &slice},
                                                 {"unique", &unique}};
  return table;
}

}  // namespace lancet::jinja
