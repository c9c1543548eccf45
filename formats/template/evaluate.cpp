// Expressions.

#include <algorithm>

#include "formats/template/filters.h"
#include "formats/template/interpreter.h"
#include "formats/template/print.h"

namespace lancet::jinja {

Value Interpreter::lookup(std::uint32_t name) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (scope->variables.size() > 16) rt_.step(scope->variables.size() / 16);
    for (const auto& [id, value] : scope->variables) {
      if (id == name) return value;
    }
  }
  if (context_[name].has_value()) return *context_[name];
  return Value::undefined(Missing::kVariable, constants_[program_.name_constants[name]]);
}

Value Interpreter::evaluate(const Expr& expr) {
  rt_.step();
  switch (expr.kind) {
    case ExprKind::kConstant:
      return constants_[expr.id];
    case ExprKind::kName:
      return lookup(expr.id);
    default:
      break;
  }
  const Level level(rt_);
  switch (expr.kind) {
    case ExprKind::kAttribute:
    case ExprKind::kItem:
      return evaluate_access(expr);
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return evaluate_call(expr);
    case ExprKind::kFilter:
      return evaluate_filter(expr);
    case ExprKind::kTest:
      return evaluate_test(expr);
    case ExprKind::kNot:
      return Value::boolean(!truthy(evaluate_part(expr, 0)));
    case ExprKind::kMinus:
    case ExprKind::kPlus:
      return negate(rt_, evaluate_part(expr, 0), expr.kind == ExprKind::kMinus);
    case ExprKind::kBinary:
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return evaluate_binary(expr);
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kConditional:
      return evaluate_conditional(expr);
    default:
      return evaluate_container(expr);
  }
}

Value Interpreter::evaluate_access(const Expr& expr) {
  const Value object = evaluate_part(expr, 0);
  if (expr.kind == ExprKind::kAttribute) {
    rt_.line = expr.line;
    return get_attribute(rt_, object, constants_[expr.id]);
  }
  const Value key = evaluate_part(expr, 1);
  rt_.line = expr.line;
  return get_item(rt_, object, key);
}

Value Interpreter::evaluate_binary(const Expr& expr) {
  Value left = evaluate_part(expr, 0);
  if (expr.kind != ExprKind::kBinary) {
    return truthy(left) == (expr.kind == ExprKind::kOr) ? left : evaluate_part(expr, 1);
  }
  const Value right = evaluate_part(expr, 1);
  rt_.line = expr.line;
  return binary(rt_, static_cast<Operator>(expr.op), left, right);
}

Value Interpreter::evaluate_container(const Expr& expr) {
  if (expr.kind == ExprKind::kDict) {
    Dict& dict = rt_.dict();
    for (std::size_t i = 0; i < expr.parts.size(); i += 2) {
      const Value key = evaluate_part(expr, i);
      dict.set(rt_, key, evaluate_part(expr, i + 1));
    }
    return Value::object(&dict);
  }
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const Expr* part : expr.parts) items.push_back(evaluate(*part));
  return rt_.list(std::move(items), expr.kind == ExprKind::kList ? Kind::kList : Kind::kTuple);
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value object = evaluate_part(expr, 0);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    bounds[i] = expr.parts[i + 1] == nullptr ? Value::none() : evaluate(*expr.parts[i + 1]);
  }
  rt_.line = expr.line;
  return get_slice(rt_, object, bounds[0], bounds[1], bounds[2]);
}

bool Interpreter::compare(Comparison op, const Value& a, const Value& b) {
  switch (op) {
    case Comparison::kEq:
      return equal(rt_, a, b);
    case Comparison::kNe:
      return !equal(rt_, a, b);
    case Comparison::kLt:
      return less(rt_, a, b, "<");
    case Comparison::kGt:
      return less(rt_, b, a, ">");
    case Comparison::kLe:
      return less_or_equal(rt_, a, b, "<=");
    case Comparison::kGe:
      return less_or_equal(rt_, b, a, ">=");
    case Comparison::kIn:
      return contains(rt_, b, a);
    case Comparison::kNotIn:
      return !contains(rt_, b, a);
  }
  return false;
}

Value Interpreter::evaluate_compare(const Expr& expr) {
  Value left = evaluate_part(expr, 0);
  for (std::size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = evaluate_part(expr, i + 1);
    rt_.line = expr.line;
    if (!compare(expr.comparisons[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  std::string text;
  for (const Expr* part : expr.parts) {
    const Value value = evaluate(*part);
    if (value.is_string()) {
      rt_.check_size(text.size() + value.text().size());
      text += value.text();
    } else {
      text += to_text(rt_, value);
    }
  }
  return rt_.string(std::move(text));
}

Value Interpreter::evaluate_conditional(const Expr& expr) {
  if (truthy(evaluate_part(expr, 1))) return evaluate_part(expr, 0);
  if (expr.parts[2] != nullptr) return evaluate_part(expr, 2);
  return Value::undefined(
      Missing::kHint, rt_.string("the inline if-expression on line " + std::to_string(expr.line) +
                                 " evaluated to false and no else section was defined."));
}

Value Interpreter::evaluate_filter(const Expr& expr) {
  const Value value = expr.parts[0] == nullptr ? block_text_ : evaluate_part(expr, 0);
  const Arguments given = arguments(expr.arguments.get());
  rt_.line = expr.line;
  if (expr.filter == nullptr) rt_.error(unknown_filter(expr.name));
  return expr.filter(rt_, value, given);
}

Value Interpreter::evaluate_test(const Expr& expr) {
  const Value value = evaluate_part(expr, 0);
  const Arguments given = arguments(expr.arguments.get());
  rt_.line = expr.line;
  if (expr.test == nullptr) rt_.error(unknown_test(expr.name));
  return Value::boolean(expr.test(rt_, value, given));
}

Arguments Interpreter::arguments(const CallArguments* call) {
  Arguments given;
  if (call == nullptr) return given;
  for (const Expr* part : call->positional) given.positional.push_back(evaluate(*part));
  if (call->star != nullptr) {
    for (Value& item : collect(rt_, evaluate(*call->star)))
      given.positional.push_back(std::move(item));
  }
  for (const auto& [name, part] : call->named) given.named.emplace_back(name, evaluate(*part));
  if (call->double_star == nullptr) return given;
  const Value extra = evaluate(*call->double_star);
  if (!extra.is(Kind::kDict)) rt_.type_error("argument after ** must be a mapping");
  for (const auto& [key, value] : extra.as<Dict>().entries) {
    if (!key.is_string()) rt_.type_error("keywords must be strings");
    // The dict lives in the arena, so its keys outlive the call.
    given.named.emplace_back(key.text(), value);
  }
  return given;
}

Value Interpreter::evaluate_call(const Expr& expr, const Value* caller) {
  const Expr& callee = *expr.parts[0];
  Value self;
  Value function;
  Method::Body method = nullptr;
  if (callee.kind ==
      ExprKind::kAttribute) {  // a method of a string, list or dict: no object for it
    self = evaluate_part(callee, 0);
    rt_.line = callee.line;
    bool supported = true;
    const Value& name = constants_[callee.id];
    if (!is_mutator(self.kind(), name.text()))
      method = find_method(self.kind(), name.text(), supported);
    if (method == nullptr) function = get_attribute(rt_, self, name);
  } else {
    function = evaluate(callee);
  }
  Arguments given = arguments(expr.arguments.get());
  if (caller != nullptr) given.named.emplace_back("caller", *caller);
  rt_.line = expr.line;
  return method != nullptr ? method(rt_, self, given) : call(function, given);
}

Value Interpreter::call(const Value& callee, const Arguments& given) {
  rt_.step(4);
  switch (callee.kind()) {
    case Kind::kUndefined:
      fail_undefined(rt_, callee);
    case Kind::kMacro:
      return call_macro(callee.as<Macro>(), given);
    case Kind::kFunction:
      return callee.as<Function>().body(rt_, given);
    case Kind::kMethod:
      return callee.as<Method>().body(rt_, callee.as<Method>().self, given);
    case Kind::kJoiner: {
      auto& joiner = callee.as<Joiner>();
      if (std::exchange(joiner.used, true)) return joiner.separator;
      return rt_.string("");
    }
    case Kind::kLoop: {
      const Parameters parameters(rt_, given, "loop", {"iterable"}, 1);
      const auto& loop = callee.as<Loop>();
      if (loop.recursive == nullptr) {
        rt_.type_error("The loop must have the 'recursive' marker to be called recursively.");
      }
      Sink sink(rt_);
      within(sink, *loop.outer,
             [&] { return run_for(*loop.recursive, *parameters[0], loop.depth0 + 1); });
      return captured(sink);
    }
    default:
      rt_.type_error("'" + std::string(type_name(callee)) + "' object is not callable");
  }
}

Value Interpreter::call_macro(const Macro& macro, const Arguments& given) {
  const Level level(rt_);
  const MacroLevel deeper(rt_);
  const MacroNode& node = *macro.node;
  rt_.step(16);
  Scope& scope = rt_.make<Scope>(0, macro.closure);
  Sink sink(rt_);
  within(sink, scope, [&] {
    bind_parameters(node, given);
    hide(node.hidden, scope);
    return run(node.body);
  });
  return captured(sink);
}

void Interpreter::bind_parameters(const MacroNode& node, const Arguments& given) {
  const std::string title = "macro '" + node.title + "'";
  if (given.positional.size() > node.parameters.size() && !node.takes_varargs) {
    rt_.type_error(title + " takes not more than " + std::to_string(node.parameters.size()) +
                   " argument(s)");
  }
  const auto named = [&](std::uint32_t id) {
    return std::find_if(given.named.begin(), given.named.end(),
                        [&](const auto& entry) { return entry.first == program_.names[id]; });
  };
  std::vector<bool> absent(node.parameters.size(), false);
  for (std::size_t i = 0; i < node.parameters.size(); ++i) {
    const std::uint32_t id = node.parameters[i].first;
    const auto keyword = i < given.positional.size() ? given.named.end() : named(id);
    absent[i] = i >= given.positional.size() && keyword == given.named.end();
    const Value name = constants_[program_.name_constants[id]];
    store_name(id,
               i < given.positional.size()    ? given.positional[i]
               : keyword != given.named.end() ? keyword->second
                                              : Value::undefined(Missing::kVariable, name),
               *scope_);
  }
  bind_extras(node, given);
  for (std::size_t i = 0; i < node.parameters.size(); ++i) {
    const auto& [id, fallback] = node.parameters[i];
    if (!absent[i]) continue;
    if (fallback != nullptr) {
      store_name(id, evaluate(*fallback), *scope_);
    } else {
      const std::string hint = "parameter '" + program_.names[id] + "' was not provided";
      store_name(id, Value::undefined(Missing::kHint, rt_.string(hint)), *scope_);
    }
  }
}

void Interpreter::bind_extras(const MacroNode& node, const Arguments& given) {
  Dict* extra = node.takes_kwargs ? &rt_.dict() : nullptr;
  Value caller = Value::undefined(Missing::kHint, rt_.string("No caller defined"));
  for (const auto& [name, value] : given.named) {
    std::size_t at = 0;
    while (at < node.parameters.size() && program_.names[node.parameters[at].first] != name) ++at;
    if (at < node.parameters.size() && at >= given.positional.size()) continue;
    if (node.takes_caller && name == "caller") {
      caller = value;
    } else if (extra != nullptr) {
      extra->set(rt_, rt_.string(name), value);
    } else {
      rt_.type_error("macro '" + node.title + "' takes no keyword argument '" + std::string(name) +
                     "'");
    }
  }
  if (extra != nullptr) store_name(program_.kwargs, Value::object(extra), *scope_);
  if (node.takes_caller) store_name(program_.caller, caller, *scope_);
  if (!node.takes_varargs) return;
  std::vector<Value> rest;
  for (std::size_t i = node.parameters.size(); i < given.positional.size(); ++i) {
    rest.push_back(given.positional[i]);
  }
  store_name(program_.varargs, rt_.tuple(std::move(rest)), *scope_);
}

}  // namespace lancet::jinja
