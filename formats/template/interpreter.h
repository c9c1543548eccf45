#pragma once
// Runs a Program. Scoping as Jinja's compiled code: loops, macros and blocks open a scope, `if`
// does not; `set` writes into the innermost one; macros see the scope they were defined in, as it
// is when they run.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "formats/template/ast.h"
#include "formats/template/loop.h"
#include "formats/template/runtime.h"

namespace lancet::jinja {

struct Scope : Object {
  explicit Scope(Scope* p) : Object(Kind::kNone), parent(p) {}
  Scope* parent;
  std::vector<std::pair<std::uint32_t, Value>> variables;  ///< name, value
};

struct Macro : Object {
  Macro(const MacroNode* n, Scope* s) : Object(Kind::kMacro), node(n), closure(s) {}
  const MacroNode* node;
  Scope* closure;
};

enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter(const Program& program, Runtime& rt, const Json& context);
  Rendered render();

 private:
  // Expressions (evaluate.cpp).
  Value evaluate(const Expr& expr);
  Value evaluate_access(const Expr& expr);
  Value evaluate_binary(const Expr& expr);
  Value evaluate_container(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_conditional(const Expr& expr);
  Value evaluate_filter(const Expr& expr);
  Value evaluate_test(const Expr& expr);
  Value evaluate_call(const Expr& expr, const Value* caller = nullptr);
  bool compare(Comparison op, const Value& a, const Value& b);
  Value evaluate_part(const Expr& expr, std::size_t part) { return evaluate(*expr.parts[part]); }
  Arguments arguments(const CallArguments* call);
  Value call(const Value& callee, const Arguments& given);
  Value call_macro(const Macro& macro, const Arguments& given);
  void bind_parameters(const MacroNode& node, const Arguments& given);
  void bind_extras(const MacroNode& node, const Arguments& given);
  Value lookup(std::uint32_t name);

  // Statements (execute.cpp).
  Flow run(const Body& body);
  Flow run(const Node& node);
  Flow run_if(const IfNode& node);
  Flow run_for(const ForNode& node, const Value& iterable, int depth);
  void run_loop(const ForNode& node, Loop& loop, Scope& scope, bool& entered);
  Flow run_else(const ForNode& node);
  Flow run_set_block(const BlockNode& node);
  Flow run_filter_block(const BlockNode& node);
  Flow run_with(const WithNode& node);
  void run_generation(const BlockNode& node);
  void run_call_block(const MacroNode& node);
  void print(const PrintNode& node);
  void write_text(const Value& value);
  void store(const Target& target, const Value& value, Scope& scope);
  void store_attribute(const Target& target, const Value& value);
  void store_name(std::uint32_t name, const Value& value, Scope& scope);
  Scope& open_scope(const Hidden& hidden);
  void hide(const Hidden& hidden, Scope& scope);
  Value captured(Sink& sink);

  /// Runs `action` with output going into `sink` and `scope` innermost.
  template <typename Action>
  auto within(Sink& sink, Scope& scope, Action action) {
    Sink* const outer_sink = out_;
    Scope* const outer_scope = scope_;
    out_ = &sink;
    scope_ = &scope;
    const auto result = action();
    out_ = outer_sink;
    scope_ = outer_scope;
    return result;
  }

  const Program& program_;
  Runtime& rt_;
  std::vector<Value> constants_;
  std::vector<std::optional<Value>> context_;  ///< by name
  Scope* scope_ = nullptr;
  Sink* out_ = nullptr;
  Value block_text_;               ///< what a filter without a value works on
  std::uint64_t generations_ = 0;  ///< generation blocks run
};

/// JSON to values; throws kInput for integers beyond int64 and text that is not UTF-8.
[[nodiscard]] Value from_json(Runtime& rt, const Json& json);

}  // namespace lancet::jinja
