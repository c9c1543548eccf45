// Statements.

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "formats/template/filters.h"
#include "formats/template/interpreter.h"
#include "formats/template/print.h"

namespace lancet::jinja {

Interpreter::Interpreter(const Program& program, Runtime& rt, const Json& context)
    : program_(program), rt_(rt), context_(program.names.size()) {
  constants_.reserve(program.constants.size());
  for (const Program::Constant& constant : program.constants) {
    if (const auto* text = std::get_if<std::string>(&constant))
      constants_.push_back(rt.string(*text));
    else if (const auto* whole = std::get_if<std::int64_t>(&constant))
      constants_.push_back(Value::integer(*whole));
    else if (const auto* real = std::get_if<double>(&constant))
      constants_.push_back(Value::real(*real));
    else if (const auto* flag = std::get_if<bool>(&constant))
      constants_.push_back(Value::boolean(*flag));
    else
      constants_.push_back(Value::none());
  }
  for (std::size_t name = 0; name < program.names.size(); ++name) {
    for (const auto& [title, body] : global_functions()) {
      if (title == program.names[name])
        context_[name] = Value::object(&rt.make<Function>(0, title, body));
    }
    if (!context.is_object()) continue;
    const auto found = context.find(program.names[name]);
    if (found != context.end()) context_[name] = from_json(rt, *found);
  }
}

Rendered Interpreter::render() {
  Sink sink(rt_);
  out_ = &sink;
  scope_ = &open_scope(program_.hidden);
  run(program_.root);
  if (sink.spans.size() < generations_) {
    fail(ErrorKind::kInput, "chat template",
         "the text of a {% generation %} block was changed after it was written, its place is "
         "unknown",
         "print the block directly, or the macro that contains it");
  }
  return {std::move(sink.text), std::move(sink.spans)};
}

void Interpreter::hide(const Hidden& hidden, Scope& scope) {
  for (const std::uint32_t name : hidden) {
    const Value& title = constants_[program_.name_constants[name]];
    scope.variables.emplace_back(name, Value::undefined(Missing::kVariable, title));
  }
}

Scope& Interpreter::open_scope(const Hidden& hidden) {
  auto& scope = rt_.make<Scope>(0, scope_);
  hide(hidden, scope);
  return scope;
}

Value Interpreter::captured(Sink& sink) {
  return rt_.string(std::move(sink.text), false, std::move(sink.spans));
}

Flow Interpreter::run(const Body& body) {
  for (const Node* node : body) {
    const Flow flow = run(*node);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow Interpreter::run(const Node& node) {
  rt_.step();
  rt_.line = node.line;
  switch (node.kind) {
    case NodeKind::kText:
      out_->write(std::string_view(static_cast<const TextNode&>(node).text));
      return Flow::kNext;
    case NodeKind::kPrint:
      print(static_cast<const PrintNode&>(node));
      return Flow::kNext;
    case NodeKind::kBreak:
      return Flow::kBreak;
    case NodeKind::kContinue:
      return Flow::kContinue;
    case NodeKind::kSet: {
      const auto& set = static_cast<const SetNode&>(node);
      store(set.target, evaluate(*set.value), *scope_);
      return Flow::kNext;
    }
    case NodeKind::kMacro: {
      const auto& macro = static_cast<const MacroNode&>(node);
      store_name(macro.id, Value::object(&rt_.make<Macro>(0, &macro, scope_)), *scope_);
      return Flow::kNext;
    }
    default:
      break;
  }
  const Level level(rt_);
  switch (node.kind) {
    case NodeKind::kIf:
      return run_if(static_cast<const IfNode&>(node));
    case NodeKind::kFor: {
      const auto& loop = static_cast<const ForNode&>(node);
      return run_for(loop, evaluate(*loop.iterable), 0);
    }
    case NodeKind::kSetBlock:
      return run_set_block(static_cast<const BlockNode&>(node));
    case NodeKind::kFilterBlock:
      return run_filter_block(static_cast<const BlockNode&>(node));
    case NodeKind::kWith:
      return run_with(static_cast<const WithNode&>(node));
    case NodeKind::kCallBlock:
      run_call_block(static_cast<const MacroNode&>(node));
      break;
    default:
      run_generation(static_cast<const BlockNode&>(node));
      break;
  }
  return Flow::kNext;
}

void Interpreter::print(const PrintNode& node) {
  for (const Expr* value : node.values) out_->write(evaluate(*value));
}

/// Writes the result of a filter or call block, which Jinja joins without str().
void Interpreter::write_text(const Value& value) {
  if (!value.is_string()) {
    rt_.type_error("the text of a block is expected, found " + std::string(type_name(value)));
  }
  out_->write(value);
}

Flow Interpreter::run_if(const IfNode& node) {
  for (const auto& [condition, body] : node.branches) {
    if (truthy(evaluate(*condition))) return run(body);
  }
  return run(node.otherwise);
}

Flow Interpreter::run_for(const ForNode& node, const Value& iterable, int depth) {
  const Level level(rt_);
  const MacroLevel deeper(rt_, depth > 0);
  rt_.line = node.line;
  Cursor cursor(rt_, iterable);
  Scope& scope = open_scope({});
  Scope* const outer = scope_;
  // The condition sees the item but not `loop`, in a scope of its own.
  Scope* const filter = node.condition == nullptr ? nullptr : &open_scope({});
  const auto fetch = [this, &cursor, &node, filter](Value& out) {
    while (cursor.next(out)) {
      if (filter == nullptr) return true;
      filter->variables.clear();
      store(node.target, out, *filter);
      Scope* const inside = std::exchange(scope_, filter);
      const bool keep = truthy(evaluate(*node.condition));
      scope_ = inside;
      if (keep) return true;
    }
    return false;
  };
  const std::int64_t size =
      filter == nullptr && has_length(iterable) ? length_of(rt_, iterable) : -1;
  bool entered = false;
  if (node.uses_loop) {
    auto& loop = rt_.make<Loop>(0, fetch, size);
    loop.depth0 = depth;
    loop.recursive = node.recursive ? &node : nullptr;
    loop.outer = outer;
    run_loop(node, loop, scope, entered);
    loop.fetch = [](Value&) { return false; };  // the cursor ends here
  } else {
    Loop loop(fetch, size);
    run_loop(node, loop, scope, entered);
  }
  scope.variables.clear();
  scope_ = outer;
  return entered ? Flow::kNext : run_else(node);
}

/// The else branch runs when the body never ran to its end once: Jinja clears its mark there.
Flow Interpreter::run_else(const ForNode& node) {
  if (node.otherwise.empty()) return Flow::kNext;
  Scope& scope = open_scope(node.hidden_otherwise);
  scope_ = &scope;
  const Flow flow = run(node.otherwise);
  scope_ = scope.parent;
  return flow;
}

void Interpreter::run_loop(const ForNode& node, Loop& loop, Scope& scope, bool& entered) {
  scope_ = &scope;
  while (loop.next()) {
    rt_.step(2);
    scope.variables.clear();
    if (node.uses_loop) store_name(program_.loop, Value::object(&loop), scope);
    store(node.target, loop.current, scope);
    hide(node.hidden, scope);
    const Flow flow = run(node.body);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNext) entered = true;
  }
}

Flow Interpreter::run_set_block(const BlockNode& node) {
  Sink sink(rt_);
  Value value;
  Scope& inner = open_scope(node.hidden);
  const Flow flow = within(sink, inner, [&] {
    const Flow end = run(node.body);
    if (end != Flow::kNext) return end;
    value = captured(sink);
    if (node.filter != nullptr) {
      block_text_ = value;
      value = evaluate(*node.filter);
    }
    return end;
  });
  if (flow == Flow::kNext) store(node.target, value, *scope_);
  return flow;
}

Flow Interpreter::run_filter_block(const BlockNode& node) {
  Sink sink(rt_);
  Value value;
  Scope& inner = open_scope(node.hidden);
  const Flow flow = within(sink, inner, [&] {
    const Flow end = run(node.body);
    if (end != Flow::kNext) return end;
    block_text_ = captured(sink);
    value = evaluate(*node.filter);
    return end;
  });
  if (flow == Flow::kNext) write_text(value);
  return flow;
}

Flow Interpreter::run_with(const WithNode& node) {
  Scope& scope = open_scope(node.hidden);
  for (const auto& [target, value] : node.assignments) store(target, evaluate(*value), scope);
  scope_ = &scope;
  const Flow flow = run(node.body);
  scope_ = scope.parent;
  return flow;
}

void Interpreter::run_generation(const BlockNode& node) {
  Scope& scope = open_scope(node.hidden);
  const std::uint64_t from = out_->text.size();
  scope_ = &scope;
  run(node.body);
  scope_ = scope.parent;
  rt_.memory().grow(sizeof(Span));
  out_->spans.emplace_back(from, out_->text.size());
  ++generations_;
}

void Interpreter::run_call_block(const MacroNode& node) {
  const Value caller = Value::object(&rt_.make<Macro>(0, &node, scope_));
  write_text(evaluate_call(*node.call, &caller));
}

void Interpreter::store_name(std::uint32_t name, const Value& value, Scope& scope) {
  if (scope.variables.size() > 16) rt_.step(scope.variables.size() / 16);
  for (auto& [id, variable] : scope.variables) {
    if (id == name) {
      variable = value;
      return;
    }
  }
  scope.variables.emplace_back(name, value);
}

void Interpreter::store_attribute(const Target& target, const Value& value) {
  const Value object = lookup(target.id);
  if (!object.is(Kind::kNamespace)) rt_.error("cannot assign attribute on non-namespace object");
  object.as<Namespace>().attributes.set(rt_, constants_[target.attribute], value);
}

void Interpreter::store(const Target& target, const Value& value, Scope& scope) {
  if (target.kind == Target::Kind::kName) return store_name(target.id, value, scope);
  if (target.kind == Target::Kind::kAttribute) return store_attribute(target, value);
  if (!is_iterable(value)) {
    rt_.type_error("cannot unpack non-iterable " + std::string(type_name(value)) + " object");
  }
  const std::vector<Value> items = collect(rt_, value);
  if (items.size() != target.parts.size()) {
    rt_.error("ValueError: expected " + std::to_string(target.parts.size()) +
              " values to unpack, found " + std::to_string(items.size()));
  }
  for (std::size_t i = 0; i < items.size(); ++i) store(target.parts[i], items[i], scope);
}

Value from_json(Runtime& rt, const Json& json) {
  const Level level(rt);
  rt.step();
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        rt.error("an integer beyond 64 bits in the context");
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (const auto bad = find_invalid_utf8(text)) {
        rt.error("text in the context is not UTF-8 (byte " + std::to_string(*bad) + ")");
      }
      return rt.string(text);
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(rt, item));
      return rt.list(std::move(items));
    }
    case Json::value_t::object: {
      Dict& dict = rt.dict();
      for (const auto& [key, value] : json.items())
        dict.set(rt, rt.string(key), from_json(rt, value));
      return Value::object(&dict);
    }
    default:
      return Value::none();
  }
}

}  // namespace lancet::jinja
