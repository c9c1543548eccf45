#include "formats/template/scoping.h"

#include <unordered_set>

namespace lancet::jinja {
namespace {

/// The names that one scope mentions at its own level (not in the scopes inside it).
struct Frame {
  const Frame* outer;
  std::unordered_set<std::uint32_t> names;
};

bool mentioned_outside(const Frame& frame, std::uint32_t name) {
  for (const Frame* at = frame.outer; at != nullptr; at = at->outer) {
    if (at->names.contains(name)) return true;
  }
  return false;
}

class Analysis {
 public:
  explicit Analysis(Program& program) : program_(program) {}

  void run() {
    Frame root{nullptr, {}};
    program_.hidden = body(program_.root, root);
  }

 private:
  void load(const Expr* expr, Frame& frame) {
    if (expr == nullptr) return;
    if (expr->kind == ExprKind::kName && !mentioned_outside(frame, expr->id))
      frame.names.insert(expr->id);
    for (const Expr* part : expr->parts) load(part, frame);
    if (expr->arguments == nullptr) return;
    for (const Expr* part : expr->arguments->positional) load(part, frame);
    for (const auto& [name, part] : expr->arguments->named) load(part, frame);
    load(expr->arguments->star, frame);
    load(expr->arguments->double_star, frame);
  }

  static void declare(const Target& target, Frame& frame) {
    if (target.kind == Target::Kind::kName) frame.names.insert(target.id);
    for (const Target& part : target.parts) declare(part, frame);
  }

  static void store_name(std::uint32_t name, Frame& frame, bool branch, Hidden& hidden) {
    const bool fresh = frame.names.insert(name).second;
    if (fresh && !branch && !mentioned_outside(frame, name)) hidden.push_back(name);
  }

  static void store(const Target& target, Frame& frame, bool branch, Hidden& hidden) {
    if (target.kind == Target::Kind::kName) store_name(target.id, frame, branch, hidden);
    if (target.kind == Target::Kind::kAttribute && !mentioned_outside(frame, target.id)) {
      frame.names.insert(target.id);
    }
    for (const Target& part : target.parts) store(part, frame, branch, hidden);
  }

  /// The hidden names of a scope with this body; `frame` holds its parameters.
  Hidden body(const Body& nodes, Frame& frame) {
    Hidden hidden;
    std::vector<Node*> inner;  // they are judged when this scope's names are complete
    level(nodes, frame, false, hidden, inner);
    for (Node* node : inner) scope(*node, frame);
    return hidden;
  }

  void level(const Body& nodes, Frame& frame, bool branch, Hidden& hidden,
             std::vector<Node*>& inner) {
    for (Node* node : nodes) {
      switch (node->kind) {
        case NodeKind::kPrint:
          for (const Expr* value : static_cast<PrintNode*>(node)->values) load(value, frame);
          break;
        case NodeKind::kIf: {
          auto& choice = static_cast<IfNode&>(*node);
          for (const auto& [condition, then] : choice.branches) {
            load(condition, frame);
            level(then, frame, true, hidden, inner);
          }
          level(choice.otherwise, frame, true, hidden, inner);
          break;
        }
        case NodeKind::kSet:
          load(static_cast<SetNode*>(node)->value, frame);
          store(static_cast<SetNode*>(node)->target, frame, branch, hidden);
          break;
        default:
          mention(*node, frame, branch, hidden);
          inner.push_back(node);
      }
    }
  }

  /// What a statement with a scope of its own mentions in the scope around it.
  void mention(const Node& node, Frame& frame, bool branch, Hidden& hidden) {
    switch (node.kind) {
      case NodeKind::kFor:
        load(static_cast<const ForNode&>(node).iterable, frame);
        break;
      case NodeKind::kSetBlock:
        store(static_cast<const BlockNode&>(node).target, frame, branch, hidden);
        break;
      case NodeKind::kFilterBlock:
        load(static_cast<const BlockNode&>(node).filter, frame);
        break;
      case NodeKind::kMacro:
        store_name(static_cast<const MacroNode&>(node).id, frame, branch, hidden);
        break;
      case NodeKind::kCallBlock:
        load(static_cast<const MacroNode&>(node).call, frame);
        break;
      case NodeKind::kWith:
        for (const auto& [target, value] : static_cast<const WithNode&>(node).assignments)
          load(value, frame);
        break;
      default:
        break;
    }
  }

  void scope(Node& node, const Frame& outer) {
    Frame frame{&outer, {}};
    switch (node.kind) {
      case NodeKind::kFor: {
        auto& loop = static_cast<ForNode&>(node);
        declare(loop.target, frame);
        if (loop.uses_loop) frame.names.insert(program_.loop);
        loop.hidden = body(loop.body, frame);
        Frame otherwise{&outer, {}};
        loop.hidden_otherwise = body(loop.otherwise, otherwise);
        break;
      }
      case NodeKind::kMacro:
      case NodeKind::kCallBlock: {
        auto& macro = static_cast<MacroNode&>(node);
        for (const auto& [name, fallback] : macro.parameters) frame.names.insert(name);
        if (macro.takes_caller) frame.names.insert(program_.caller);
        if (macro.takes_kwargs) frame.names.insert(program_.kwargs);
        if (macro.takes_varargs) frame.names.insert(program_.varargs);
        for (const auto& [name, fallback] : macro.parameters) load(fallback, frame);
        macro.hidden = body(macro.body, frame);
        break;
      }
      case NodeKind::kWith: {
        auto& with = static_cast<WithNode&>(node);
        for (const auto& [target, value] : with.assignments) declare(target, frame);
        with.hidden = body(with.body, frame);
        break;
      }
      case NodeKind::kSetBlock:
      case NodeKind::kFilterBlock:
      case NodeKind::kGeneration: {
        auto& block = static_cast<BlockNode&>(node);
        block.hidden = body(block.body, frame);
        break;
      }
      default:
        break;
    }
  }

  Program& program_;
};

}  // namespace

void analyze_scopes(Program& program) { Analysis(program).run(); }

}  // namespace lancet::jinja
