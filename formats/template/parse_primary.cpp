// Literals, names, subscripts, calls and assignment targets.

#include <algorithm>

#include "formats/template/parser_state.h"

namespace lancet::jinja {

const Expr* ExpressionParser::parse_primary() {
  const Lexeme& token = current();
  const std::uint32_t line = token.line;
  switch (token.token) {
    case Token::kName:
      return parse_name();
    case Token::kString:
      return parse_text();
    case Token::kInteger:
    case Token::kFloat: {
      take();
      const std::uint32_t id =
          token.token == Token::kInteger ? constant(token.integer) : constant(token.real);
      Expr& expr = make(ExprKind::kConstant, line);
      expr.id = id;
      return &expr;
    }
    default:
      break;
  }
  if (skip_op("(")) {
    const Expr* inner = parse_tuple(true, true);
    expect_op(")");
    return inner;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  error("unexpected '" + describe() + "'");
}

const Expr* ExpressionParser::parse_name() {
  const Lexeme& token = take();
  const std::string& name = token.text;
  const bool yes = name == "true" || name == "True";
  if (yes || name == "false" || name == "False" || name == "none" || name == "None") {
    Expr& expr = make(ExprKind::kConstant, token.line);
    expr.id = name[0] == 'n' || name[0] == 'N' ? constant(std::monostate{}) : constant(yes);
    return &expr;
  }
  uses_varargs_ = uses_varargs_ || name == "varargs";
  uses_kwargs_ = uses_kwargs_ || name == "kwargs";
  uses_caller_ = uses_caller_ || name == "caller";
  uses_loop_ = uses_loop_ || name == "loop";
  Expr& expr = make(ExprKind::kName, token.line);
  expr.id = intern(name);
  return &expr;
}

const Expr* ExpressionParser::parse_text() {
  const std::uint32_t line = current().line;
  std::string text = take().text;
  while (current().token == Token::kString) text += take().text;
  Expr& expr = make(ExprKind::kConstant, line);
  expr.id = constant(std::move(text));
  return &expr;
}

const Expr* ExpressionParser::parse_list() {
  const std::uint32_t line = take().line;
  std::vector<const Expr*> items;
  while (!is_op("]")) {
    if (!items.empty()) expect_op(",");
    if (is_op("]")) break;
    items.push_back(parse_expression());
  }
  expect_op("]");
  return &make(ExprKind::kList, line, std::move(items));
}

const Expr* ExpressionParser::parse_dict() {
  const std::uint32_t line = take().line;
  std::vector<const Expr*> items;
  while (!is_op("}")) {
    if (!items.empty()) expect_op(",");
    if (is_op("}")) break;
    items.push_back(parse_expression());
    expect_op(":");
    items.push_back(parse_expression());
  }
  expect_op("}");
  return &make(ExprKind::kDict, line, std::move(items));
}

const Expr* ExpressionParser::parse_tuple(bool conditional, bool parentheses,
                                          std::string_view end) {
  const std::uint32_t line = current().line;
  const auto at_end = [&] {
    return current().token == Token::kVariableEnd || current().token == Token::kBlockEnd ||
           is_op(")") || (!end.empty() && is_name(end));
  };
  std::vector<const Expr*> items;
  bool is_tuple = false;
  for (;;) {
    if (!items.empty()) expect_op(",");
    if (at_end()) break;
    items.push_back(parse_expression(conditional));
    if (!is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (!is_tuple && !parentheses) error("Expected an expression, got '" + describe() + "'");
  return &make(ExprKind::kTuple, line, std::move(items));
}

const Expr* ExpressionParser::parse_subscript(const Expr* value) {
  const Lexeme& token = take();
  const std::uint32_t line = token.line;
  if (token.text == "[") return parse_brackets(value, line);
  const Lexeme& name = take();
  if (name.token == Token::kName) {
    Expr& expr = make(ExprKind::kAttribute, line, {value});
    expr.id = constant(name.text);
    return &expr;
  }
  if (name.token != Token::kInteger) fail_at(name.line, "expected name or number");
  Expr& index = make(ExprKind::kConstant, line);
  index.id = constant(name.integer);
  return &make(ExprKind::kItem, line, {value, &index});
}

const Expr* ExpressionParser::parse_brackets(const Expr* value, std::uint32_t line) {
  std::vector<const Expr*> keys;
  const Expr* slice = nullptr;
  while (!is_op("]")) {
    if (!keys.empty()) expect_op(",");
    const Expr* bounds[3] = {nullptr, nullptr, nullptr};
    std::size_t colons = 0;
    while (!is_op("]") && !is_op(",")) {
      if (skip_op(":")) {
        if (++colons > 2) error("expected token ']', got ':'");
      } else if (bounds[colons] == nullptr) {
        bounds[colons] = parse_expression();
      } else {
        break;
      }
    }
    if (colons > 0)
      slice = &make(ExprKind::kSlice, line, {value, bounds[0], bounds[1], bounds[2]});
    else if (bounds[0] == nullptr)
      error("unexpected '" + describe() + "'");
    keys.push_back(colons > 0 ? slice : bounds[0]);
    if (!is_op("]") && !is_op(",")) error("expected token ',', got '" + describe() + "'");
  }
  expect_op("]");
  if (slice != nullptr) {
    if (keys.size() > 1) fail_at(line, "a tuple of slices is not supported");
    return slice;
  }
  if (keys.size() == 1) return &make(ExprKind::kItem, line, {value, keys[0]});
  const Expr* tuple = &make(ExprKind::kTuple, line, std::move(keys));
  return &make(ExprKind::kItem, line, {value, tuple});
}

const Expr* ExpressionParser::parse_call(const Expr* value) {
  const std::uint32_t line = current().line;
  auto arguments = parse_arguments();
  Expr& expr = make(ExprKind::kCall, line, {value});
  attach(expr, std::move(arguments));
  return &expr;
}

std::unique_ptr<CallArguments> ExpressionParser::parse_arguments() {
  const std::uint32_t line = current().line;
  expect_op("(");
  auto arguments = std::make_unique<CallArguments>();
  const auto ensure = [&](bool valid) {
    if (!valid) fail_at(line, "invalid syntax for function call expression");
  };
  bool first = true;
  while (!is_op(")")) {
    if (!first) expect_op(",");
    if (is_op(")")) break;
    first = false;
    if (skip_op("*")) {
      ensure(arguments->star == nullptr && arguments->double_star == nullptr);
      arguments->star = parse_expression();
    } else if (skip_op("**")) {
      ensure(arguments->double_star == nullptr);
      arguments->double_star = parse_expression();
    } else if (current().token == Token::kName && ahead().token == Token::kOperator &&
               ahead().text == "=") {
      ensure(arguments->double_star == nullptr);
      const std::string name = take().text;
      take();
      for (const auto& [other, value] : arguments->named) {
        if (other == name) fail_at(line, "keyword argument repeated: " + name);
      }
      arguments->named.emplace_back(name, parse_expression());
    } else {
      ensure(arguments->star == nullptr && arguments->double_star == nullptr &&
             arguments->named.empty());
      arguments->positional.push_back(parse_expression());
    }
  }
  expect_op(")");
  return arguments;
}

Target ExpressionParser::name_target(const Lexeme& name) const {
  static constexpr std::string_view kFixed[] = {"true", "True", "false", "False", "none", "None"};
  if (std::find(std::begin(kFixed), std::end(kFixed), name.text) != std::end(kFixed)) {
    fail_at(name.line, "can't assign to '" + name.text + "'");
  }
  return {};
}

Target ExpressionParser::parse_single_target(bool attributes) {
  if (skip_op("(")) {
    const Deeper deeper(*this);
    Target target = parse_target(attributes, ")");
    expect_op(")");
    return target;
  }
  const Lexeme& name = expect(Token::kName, "name");
  Target target = name_target(name);
  target.id = intern(name.text);
  if (attributes && skip_op(".")) {
    target.kind = Target::Kind::kAttribute;
    target.attribute = constant(expect(Token::kName, "name").text);
  } else if (loops_ > 0 && name.text == "loop") {
    fail_at(name.line, "Can't assign to special loop variable in for-loop target");
  }
  return target;
}

Target ExpressionParser::parse_target(bool attributes, std::string_view end) {
  const auto at_end = [&] {
    return current().token == Token::kBlockEnd || is_op(")") || is_op("=") || is_op("|") ||
           is_name(end);
  };
  Target first = parse_single_target(attributes);
  if (!is_op(",")) return first;
  Target tuple;
  tuple.kind = Target::Kind::kTuple;
  tuple.parts.push_back(std::move(first));
  while (skip_op(",") && !at_end()) tuple.parts.push_back(parse_single_target(attributes));
  return tuple;
}

}  // namespace lancet::jinja
