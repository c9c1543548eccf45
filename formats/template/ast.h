#pragma once
// The parsed template: expressions and statements, owned flat by the Program.

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "formats/template/value.h"

namespace lancet::jinja {

using Filter = Value (*)(Runtime& rt, const Value& value, const Arguments& arguments);
using Test = bool (*)(Runtime& rt, const Value& value, const Arguments& arguments);

enum class ExprKind : std::uint8_t {
  kConstant,   ///< id: constant
  kName,       ///< id: name
  kAttribute,  ///< parts[0].name; id: constant with the name
  kItem,       ///< parts[0][parts[1]]
  kSlice,      ///< parts[0][parts[1]:parts[2]:parts[3]]; absent bounds are null
  kCall,       ///< parts[0](...)
  kFilter,     ///< parts[0] | filter(...); parts[0] null: the text of the block
  kTest,       ///< parts[0] is test(...)
  kNot,
  kMinus,
  kPlus,
  kBinary,  ///< op: Operator
  kAnd,
  kOr,
  kCompare,      ///< parts[0] ops[0] parts[1] ops[1] parts[2] ...
  kConcat,       ///< parts ~ ...
  kConditional,  ///< parts[0] if parts[1] else parts[2] (may be null)
  kList,
  kTuple,
  kDict  ///< parts: key, value, key, value, ...
};

enum class Comparison : std::uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expr;

/// What stands between the parentheses of a call, filter or test.
struct CallArguments {
  std::vector<const Expr*> positional;
  std::vector<std::pair<std::string, const Expr*>> named;
  const Expr* star = nullptr;         ///< *expression
  const Expr* double_star = nullptr;  ///< **expression
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  std::uint8_t op = 0;
  std::uint32_t line = 0;
  std::uint32_t height = 1;  ///< of the tree below, bounded by the parser
  std::uint32_t id = 0;
  std::vector<const Expr*> parts;
  std::vector<Comparison> comparisons;
  std::unique_ptr<CallArguments> arguments;
  std::string name;         ///< of the filter or test
  Filter filter = nullptr;  ///< null: no such filter, an error when it runs
  Test test = nullptr;
};

/// Where an assignment goes: a name, namespace.attribute, or a tuple of targets.
struct Target {
  enum class Kind : std::uint8_t { kName, kAttribute, kTuple };
  Kind kind = Kind::kName;
  std::uint32_t id = 0;         ///< name
  std::uint32_t attribute = 0;  ///< constant
  std::vector<Target> parts;
};

enum class NodeKind : std::uint8_t {
  kText,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kGeneration,
  kBreak,
  kContinue
};

struct Node;
using Body = std::vector<Node*>;

/// Names that a scope hides from the outset: see scoping.h.
using Hidden = std::vector<std::uint32_t>;

struct Node {
  Node(NodeKind k, std::uint32_t l) : kind(k), line(l) {}
  virtual ~Node() = default;
  NodeKind kind;
  std::uint32_t line;
};

struct TextNode : Node {
  TextNode(std::uint32_t l, std::string t) : Node(NodeKind::kText, l), text(std::move(t)) {}
  std::string text;
};

struct PrintNode : Node {
  explicit PrintNode(std::uint32_t l) : Node(NodeKind::kPrint, l) {}
  std::vector<const Expr*> values;
};

struct IfNode : Node {
  explicit IfNode(std::uint32_t l) : Node(NodeKind::kIf, l) {}
  std::vector<std::pair<const Expr*, Body>> branches;
  Body otherwise;
};

struct ForNode : Node {
  explicit ForNode(std::uint32_t l) : Node(NodeKind::kFor, l) {}
  Target target;
  const Expr* iterable = nullptr;
  const Expr* condition = nullptr;
  bool recursive = false;
  bool uses_loop = false;  ///< the body names `loop`
  Body body;
  Body otherwise;
  Hidden hidden;
  Hidden hidden_otherwise;
};

struct SetNode : Node {
  explicit SetNode(std::uint32_t l) : Node(NodeKind::kSet, l) {}
  Target target;
  const Expr* value = nullptr;
};

/// {% set x | filter %}...{% endset %}, {% filter f %}...{% endfilter %} (no target) and
/// {% generation %}...{% endgeneration %} (neither).
struct BlockNode : Node {
  using Node::Node;
  Target target;
  const Expr* filter = nullptr;
  Body body;
  Hidden hidden;
};

struct WithNode : Node {
  explicit WithNode(std::uint32_t l) : Node(NodeKind::kWith, l) {}
  std::vector<std::pair<Target, const Expr*>> assignments;
  Body body;
  Hidden hidden;
};

/// A macro, or the body of a call block (`call` then holds the call).
struct MacroNode : Node {
  using Node::Node;
  std::string title;
  std::uint32_t id = 0;
  std::vector<std::pair<std::uint32_t, const Expr*>> parameters;  ///< name, default or null
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
  const Expr* call = nullptr;
  Body body;
  Hidden hidden;
};

struct Program {
  using Constant = std::variant<std::monostate, bool, std::int64_t, double, std::string>;
  std::deque<Expr> expressions;
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::string> names;
  std::vector<std::uint32_t> name_constants;  ///< for each name, the constant that holds it
  std::vector<Constant> constants;
  std::uint32_t varargs = 0, kwargs = 0, caller = 0, loop = 0;  ///< names
  Body root;
  Hidden hidden;
};

}  // namespace lancet::jinja
