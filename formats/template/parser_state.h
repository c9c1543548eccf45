#pragma once
// The two halves of the parser: expressions, and statements on top of them.

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/template/ast.h"
#include "formats/template/lexer.h"
#include "formats/template/runtime.h"

namespace lancet::jinja {

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Lexeme> tokens, int depth)
      : tokens_(std::move(tokens)), limit_(depth) {}

  [[nodiscard]] const Lexeme& current() const { return tokens_[at_]; }
  [[nodiscard]] const Lexeme& ahead() const {
    return tokens_[std::min(at_ + 1, tokens_.size() - 1)];
  }
  const Lexeme& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[nodiscard]] bool is_op(std::string_view op) const {
    return current().token == Token::kOperator && current().text == op;
  }
  [[nodiscard]] bool is_name(std::string_view name) const {
    return current().token == Token::kName && current().text == name;
  }
  bool skip_op(std::string_view op) { return is_op(op) && (take(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (take(), true); }
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);
  const Lexeme& expect(Token token, std::string_view what);
  [[noreturn]] void error(const std::string& message) const { fail_at(current().line, message); }
  [[nodiscard]] std::string describe() const;

  std::uint32_t intern(const std::string& name);
  std::uint32_t constant(Program::Constant value);
  Expr& make(ExprKind kind, std::uint32_t line, std::vector<const Expr*> parts = {});
  void measure(Expr& expr, const Expr* part) const;

  const Expr* parse_expression(bool conditional = true);
  /// An expression, or a tuple where commas follow. `end`: a name that also ends it.
  const Expr* parse_tuple(bool conditional = true, bool parentheses = false,
                          std::string_view end = {});
  const Expr* parse_filters(const Expr* value, bool inline_start);
  Target parse_target(bool attributes, std::string_view end = {});
  /// What a name means in an assignment; refuses `loop` inside loops.
  Target name_target(const Lexeme& name) const;

  /// Guards one level of nesting.
  class Deeper {
   public:
    explicit Deeper(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.limit_) parser_.error("nested too deeply");
    }
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    ExpressionParser& parser_;
  };

  Program program_;
  bool soft_ = false;  ///< inside an if: unknown filters are errors only when they run
  int loops_ = 0;      ///< for statements around
  /// Unknown filters and tests met so far outside of an if: line and message.
  std::vector<std::pair<std::uint32_t, std::string>> unknown_;
  bool uses_varargs_ = false, uses_kwargs_ = false, uses_caller_ = false, uses_loop_ = false;

 private:
  const Expr* parse_conditional();
  const Expr* parse_or();
  const Expr* parse_and();
  const Expr* parse_not();
  const Expr* parse_compare();
  const Expr* parse_sum();
  const Expr* parse_concat();
  const Expr* parse_product();
  const Expr* parse_power();
  const Expr* parse_unary(bool with_filter);
  const Expr* parse_primary();
  const Expr* parse_name();
  const Expr* parse_text();
  const Expr* parse_list();
  const Expr* parse_dict();
  const Expr* parse_postfix(const Expr* value);
  const Expr* parse_filters_and_tests(const Expr* value);
  const Expr* parse_subscript(const Expr* value);
  const Expr* parse_brackets(const Expr* value, std::uint32_t line);
  const Expr* parse_test(const Expr* value);
  const Expr* parse_call(const Expr* value);
  std::unique_ptr<CallArguments> parse_arguments();
  void attach(Expr& expr, std::unique_ptr<CallArguments> arguments) const;
  std::string dotted_name();
  Target parse_single_target(bool attributes);

  std::vector<Lexeme> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int limit_;
  std::unordered_map<std::string, std::uint32_t> name_ids_;
  std::unordered_map<std::string, std::uint32_t> string_ids_;
};

}  // namespace lancet::jinja
