#include <algorithm>

#include "formats/template/filters.h"
#include "formats/template/parser_state.h"

namespace lancet::jinja {
namespace {

constexpr std::uint32_t kMaximumHeight = 300;  ///< of an expression tree: a + b + c + ...

std::uint8_t code(Operator op) { return static_cast<std::uint8_t>(op); }

}  // namespace

std::string ExpressionParser::describe() const {
  switch (current().token) {
    case Token::kEnd:
      return "end of template";
    case Token::kVariableEnd:
      return "end of print statement";
    case Token::kBlockEnd:
      return "end of statement block";
    case Token::kData:
      return "template data";
    default:
      return current().text.empty() ? "a number" : current().text;
  }
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) error("expected token '" + std::string(op) + "', got '" + describe() + "'");
}

void ExpressionParser::expect_name(std::string_view name) {
  if (!skip_name(name))
    error("expected token '" + std::string(name) + "', got '" + describe() + "'");
}

const Lexeme& ExpressionParser::expect(Token token, std::string_view what) {
  if (current().token != token) {
    error("expected token '" + std::string(what) + "', got '" + describe() + "'");
  }
  return take();
}

std::uint32_t ExpressionParser::constant(Program::Constant value) {
  const auto id = static_cast<std::uint32_t>(program_.constants.size());
  if (const auto* text = std::get_if<std::string>(&value)) {
    const auto [it, added] = string_ids_.emplace(*text, id);
    if (!added) return it->second;
  }
  program_.constants.push_back(std::move(value));
  return id;
}

std::uint32_t ExpressionParser::intern(const std::string& name) {
  const auto [it, added] =
      name_ids_.emplace(name, static_cast<std::uint32_t>(program_.names.size()));
  if (added) {
    program_.names.push_back(name);
    program_.name_constants.push_back(constant(name));
  }
  return it->second;
}

void ExpressionParser::measure(Expr& expr, const Expr* part) const {
  if (part == nullptr) return;
  expr.height = std::max(expr.height, part->height + 1);
  if (expr.height > kMaximumHeight) fail_at(expr.line, "expression nested too deeply");
}

Expr& ExpressionParser::make(ExprKind kind, std::uint32_t line, std::vector<const Expr*> parts) {
  Expr& expr = program_.expressions.emplace_back();
  expr.kind = kind;
  expr.line = line;
  for (const Expr* part : parts) measure(expr, part);
  expr.parts = std::move(parts);
  return expr;
}

const Expr* ExpressionParser::parse_expression(bool conditional) {
  const Deeper deeper(*this);
  return conditional ? parse_conditional() : parse_or();
}

const Expr* ExpressionParser::parse_conditional() {
  const std::size_t known = unknown_.size();
  const Expr* value = parse_or();
  while (is_name("if")) {
    const std::uint32_t line = take().line;
    const Expr* condition = parse_or();
    const Expr* otherwise = skip_name("else") ? parse_expression() : nullptr;
    value = &make(ExprKind::kConditional, line, {value, condition, otherwise});
    unknown_.resize(known);  // judged only when it runs
  }
  return value;
}

const Expr* ExpressionParser::parse_or() {
  const Expr* left = parse_and();
  while (is_name("or")) {
    const std::uint32_t line = take().line;
    const Expr* right = parse_and();
    left = &make(ExprKind::kOr, line, {left, right});
  }
  return left;
}

const Expr* ExpressionParser::parse_and() {
  const Expr* left = parse_not();
  while (is_name("and")) {
    const std::uint32_t line = take().line;
    const Expr* right = parse_not();
    left = &make(ExprKind::kAnd, line, {left, right});
  }
  return left;
}

const Expr* ExpressionParser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Deeper deeper(*this);
  const std::uint32_t line = take().line;
  const Expr* value = parse_not();
  return &make(ExprKind::kNot, line, {value});
}

const Expr* ExpressionParser::parse_compare() {
  static constexpr std::pair<std::string_view, Comparison> kComparisons[] = {
      {"==", Comparison::kEq}, {"!=", Comparison::kNe}, {"<", Comparison::kLt},
      {"<=", Comparison::kLe}, {">", Comparison::kGt},  {">=", Comparison::kGe}};
  const std::uint32_t line = current().line;
  std::vector<const Expr*> parts = {parse_sum()};
  std::vector<Comparison> comparisons;
  for (;;) {
    const auto* found = std::find_if(std::begin(kComparisons), std::end(kComparisons),
                                     [&](const auto& entry) { return is_op(entry.first); });
    const bool negated = is_name("not") && ahead().token == Token::kName && ahead().text == "in";
    if (found != std::end(kComparisons)) {
      comparisons.push_back(found->second);
    } else if (is_name("in") || negated) {
      if (negated) take();
      comparisons.push_back(negated ? Comparison::kNotIn : Comparison::kIn);
    } else {
      break;
    }
    take();
    parts.push_back(parse_sum());
  }
  if (comparisons.empty()) return parts[0];
  Expr& expr = make(ExprKind::kCompare, line, std::move(parts));
  expr.comparisons = std::move(comparisons);
  return &expr;
}

const Expr* ExpressionParser::parse_sum() {
  const Expr* left = parse_concat();
  while (is_op("+") || is_op("-")) {
    const Lexeme& op = take();
    const Operator kind = op.text == "+" ? Operator::kAdd : Operator::kSub;
    const std::uint32_t line = op.line;
    const Expr* right = parse_concat();
    Expr& expr = make(ExprKind::kBinary, line, {left, right});
    expr.op = code(kind);
    left = &expr;
  }
  return left;
}

const Expr* ExpressionParser::parse_concat() {
  const std::uint32_t line = current().line;
  std::vector<const Expr*> parts = {parse_product()};
  while (skip_op("~")) parts.push_back(parse_product());
  return parts.size() == 1 ? parts[0] : &make(ExprKind::kConcat, line, std::move(parts));
}

const Expr* ExpressionParser::parse_product() {
  const Expr* left = parse_power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Lexeme& op = take();
    const Operator kind = op.text == "*"    ? Operator::kMul
                          : op.text == "/"  ? Operator::kDiv
                          : op.text == "//" ? Operator::kFloorDiv
                                            : Operator::kMod;
    const std::uint32_t line = op.line;
    const Expr* right = parse_power();
    Expr& expr = make(ExprKind::kBinary, line, {left, right});
    expr.op = code(kind);
    left = &expr;
  }
  return left;
}

const Expr* ExpressionParser::parse_power() {
  const Expr* left = parse_unary(true);
  while (is_op("**")) {
    const std::uint32_t line = take().line;
    const Expr* right = parse_unary(true);
    Expr& expr = make(ExprKind::kBinary, line, {left, right});
    expr.op = code(Operator::kPow);
    left = &expr;
  }
  return left;
}

const Expr* ExpressionParser::parse_unary(bool with_filter) {
  const Expr* value = nullptr;
  if (is_op("-") || is_op("+")) {
    const Deeper deeper(*this);
    const Lexeme& op = take();
    const ExprKind kind = op.text == "-" ? ExprKind::kMinus : ExprKind::kPlus;
    const std::uint32_t line = op.line;
    const Expr* operand = parse_unary(false);
    value = &make(kind, line, {operand});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(value);
  return with_filter ? parse_filters_and_tests(value) : value;
}

const Expr* ExpressionParser::parse_postfix(const Expr* value) {
  for (;;) {
    if (is_op(".") || is_op("["))
      value = parse_subscript(value);
    else if (is_op("("))
      value = parse_call(value);
    else
      return value;
  }
}

const Expr* ExpressionParser::parse_filters_and_tests(const Expr* value) {
  for (;;) {
    if (is_op("|"))
      value = parse_filters(value, false);
    else if (is_name("is"))
      value = parse_test(value);
    else if (is_op("("))
      value = parse_call(value);
    else
      return value;
  }
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect(Token::kName, "name").text;
  while (skip_op(".")) name += "." + expect(Token::kName, "name").text;
  return name;
}

void ExpressionParser::attach(Expr& expr, std::unique_ptr<CallArguments> arguments) const {
  if (arguments == nullptr) return;
  for (const Expr* part : arguments->positional) measure(expr, part);
  for (const auto& [name, part] : arguments->named) measure(expr, part);
  measure(expr, arguments->star);
  measure(expr, arguments->double_star);
  expr.arguments = std::move(arguments);
}

const Expr* ExpressionParser::parse_filters(const Expr* value, bool inline_start) {
  while (is_op("|") || inline_start) {
    if (!inline_start) take();
    inline_start = false;
    const std::uint32_t line = current().line;
    Expr& expr = make(ExprKind::kFilter, line, {value});
    expr.name = dotted_name();
    expr.filter = find_filter(expr.name);
    if (expr.filter == nullptr && !soft_) unknown_.emplace_back(line, unknown_filter(expr.name));
    if (is_op("(")) attach(expr, parse_arguments());
    value = &expr;
  }
  return value;
}

const Expr* ExpressionParser::parse_test(const Expr* value) {
  const std::uint32_t line = take().line;
  const bool negated = skip_name("not");
  Expr& expr = make(ExprKind::kTest, line, {value});
  expr.name = dotted_name();
  expr.test = find_test(expr.name);
  if (expr.test == nullptr && !soft_) unknown_.emplace_back(line, unknown_test(expr.name));
  const Token token = current().token;
  if (is_op("(")) {
    attach(expr, parse_arguments());
  } else if ((token == Token::kName && !is_name("else") && !is_name("or") && !is_name("and")) ||
             token == Token::kString || token == Token::kInteger || token == Token::kFloat ||
             is_op("[") || is_op("{")) {
    if (is_name("is")) error("You cannot chain multiple tests with is");
    auto arguments = std::make_unique<CallArguments>();
    arguments->positional.push_back(parse_postfix(parse_primary()));
    attach(expr, std::move(arguments));
  }
  return negated ? &make(ExprKind::kNot, line, {&expr}) : &expr;
}

}  // namespace lancet::jinja
