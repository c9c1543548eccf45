#include "formats/template/parser.h"

#include <algorithm>
#include <utility>

#include "formats/template/parser_state.h"
#include "formats/template/scoping.h"

namespace lancet::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class Parser : private ExpressionParser {
 public:
  Parser(std::vector<Lexeme> tokens, int depth) : ExpressionParser(std::move(tokens), depth) {
    program_.varargs = intern("varargs");
    program_.kwargs = intern("kwargs");
    program_.caller = intern("caller");
    program_.loop = intern("loop");
  }

  Program run() {
    program_.root = parse_body({});
    if (!unknown_.empty()) fail_at(unknown_[0].first, unknown_[0].second);
    return std::move(program_);
  }

 private:
  template <typename T, typename... Args>
  T& add(Args&&... args) {
    program_.nodes.push_back(std::make_unique<T>(std::forward<Args>(args)...));
    return static_cast<T&>(*program_.nodes.back());
  }

  /// Statements up to a tag of one of these names, which is left as the current token.
  Body parse_body(Names ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      const Lexeme& token = current();
      if (token.token == Token::kEnd) {
        if (ends.size() == 0) return body;
        error("Unexpected end of template. Jinja was looking for '" + std::string(*ends.begin()) +
              "'");
      }
      if (token.token == Token::kData) {
        body.push_back(&add<TextNode>(token.line, take().text));
      } else if (token.token == Token::kVariableBegin) {
        take();
        auto& print = add<PrintNode>(token.line);
        print.values.push_back(parse_tuple());
        expect(Token::kVariableEnd, "end of print statement");
        body.push_back(&print);
      } else {
        expect(Token::kBlockBegin, "begin of statement block");
        const bool last =
            std::any_of(ends.begin(), ends.end(), [&](auto name) { return is_name(name); });
        if (last) return body;
        body.push_back(parse_statement());
        expect(Token::kBlockEnd, "end of statement block");
      }
    }
  }

  /// The rest of an opening tag, then statements up to one of `ends`.
  Body parse_block(Names ends) {
    skip_op(":");
    expect(Token::kBlockEnd, "end of statement block");
    return parse_body(ends);
  }

  Node* parse_statement() {
    const Lexeme& tag = expect(Token::kName, "tag name");
    const std::string& name = tag.text;
    if (name == "if") return parse_if(tag.line);
    if (name == "for") return parse_for(tag.line);
    if (name == "set") return parse_set(tag.line);
    if (name == "macro") return parse_macro(tag.line);
    if (name == "call") return parse_call_block(tag.line);
    if (name == "filter") return parse_filter_block(tag.line);
    if (name == "generation") return parse_generation(tag.line);
    if (name == "with") return parse_with(tag.line);
    if (name == "print") return parse_print(tag.line);
    if (name == "break" || name == "continue") {
      if (!in_loop_) fail_at(tag.line, "'" + name + "' outside loop");
      return &add<Node>(name == "break" ? NodeKind::kBreak : NodeKind::kContinue, tag.line);
    }
    static constexpr std::string_view kJinja[] = {"block",  "extends", "include",
                                                  "import", "from",    "autoescape"};
    if (std::find(std::begin(kJinja), std::end(kJinja), name) != std::end(kJinja)) {
      fail_at(tag.line, "the tag '" + name + "' is not supported in chat templates");
    }
    fail_at(tag.line, "Encountered unknown tag '" + name + "'");
  }

  Node* parse_print(std::uint32_t line) {
    auto& node = add<PrintNode>(line);
    while (current().token != Token::kBlockEnd) {
      if (!node.values.empty()) expect_op(",");
      node.values.push_back(parse_expression());
    }
    return &node;
  }

  Node* parse_if(std::uint32_t line) {
    auto& node = add<IfNode>(line);
    const bool soft = std::exchange(soft_, true);
    for (;;) {
      const Expr* condition = parse_tuple(false);
      node.branches.emplace_back(condition, parse_block({"elif", "else", "endif"}));
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) node.otherwise = parse_block({"endif"});
    expect_name("endif");
    soft_ = soft;
    return &node;
  }

  Node* parse_for(std::uint32_t line) {
    auto& node = add<ForNode>(line);
    ++loops_;
    node.target = parse_target(false, "in");
    --loops_;
    expect_name("in");
    node.iterable = parse_tuple(false, false, "recursive");
    const bool soft = std::exchange(soft_, false);
    const bool outer_uses = std::exchange(uses_loop_, false);
    if (skip_name("if")) node.condition = parse_expression();
    const bool condition_uses = std::exchange(uses_loop_, false);
    node.recursive = skip_name("recursive");
    const bool in_loop = std::exchange(in_loop_, true);
    ++loops_;
    node.body = parse_block({"endfor", "else"});
    in_loop_ = in_loop && !node.recursive;
    node.uses_loop = uses_loop_ || node.recursive;
    if (skip_name("else")) node.otherwise = parse_block({"endfor"});
    expect_name("endfor");
    --loops_;
    in_loop_ = in_loop;
    soft_ = soft;
    uses_loop_ = uses_loop_ || outer_uses || condition_uses;
    return &node;
  }

  Node* parse_set(std::uint32_t line) {
    Target target = parse_target(true);
    if (skip_op("=")) {
      auto& node = add<SetNode>(line);
      node.target = std::move(target);
      node.value = parse_tuple();
      return &node;
    }
    auto& node = add<BlockNode>(NodeKind::kSetBlock, line);
    node.target = std::move(target);
    const bool soft = std::exchange(soft_, false);
    node.filter = parse_filters(nullptr, false);
    node.body = parse_block({"endset"});
    expect_name("endset");
    soft_ = soft;
    return &node;
  }

  Node* parse_filter_block(std::uint32_t line) {
    auto& node = add<BlockNode>(NodeKind::kFilterBlock, line);
    const bool soft = std::exchange(soft_, false);
    node.filter = parse_filters(nullptr, true);
    node.body = parse_block({"endfilter"});
    expect_name("endfilter");
    soft_ = soft;
    return &node;
  }

  Node* parse_generation(std::uint32_t line) {
    auto& node = add<BlockNode>(NodeKind::kGeneration, line);
    const bool soft = std::exchange(soft_, false);
    const bool in_loop = std::exchange(in_loop_, false);
    node.body = parse_block({"endgeneration"});
    expect_name("endgeneration");
    in_loop_ = in_loop;
    soft_ = soft;
    return &node;
  }

  Node* parse_with(std::uint32_t line) {
    auto& node = add<WithNode>(line);
    while (current().token != Token::kBlockEnd) {
      if (!node.assignments.empty()) expect_op(",");
      Target target = parse_target(false);
      expect_op("=");
      node.assignments.emplace_back(std::move(target), parse_expression());
    }
    const bool soft = std::exchange(soft_, false);
    node.body = parse_block({"endwith"});
    expect_name("endwith");
    soft_ = soft;
    return &node;
  }

  void parse_signature(MacroNode& node) {
    expect_op("(");
    bool defaults = false;
    while (!is_op(")")) {
      if (!node.parameters.empty()) expect_op(",");
      const Lexeme& name = expect(Token::kName, "name");
      name_target(name);
      const std::uint32_t id = intern(name.text);
      for (const auto& [other, value] : node.parameters) {
        if (other == id) fail_at(name.line, "duplicate argument '" + name.text + "'");
      }
      const Expr* fallback = skip_op("=") ? parse_expression() : nullptr;
      if (fallback == nullptr && defaults) error("non-default argument follows default argument");
      defaults = defaults || fallback != nullptr;
      node.parameters.emplace_back(id, fallback);
    }
    expect_op(")");
  }

  [[nodiscard]] static bool has_parameter(const MacroNode& node, std::uint32_t id) {
    return std::any_of(node.parameters.begin(), node.parameters.end(),
                       [&](const auto& parameter) { return parameter.first == id; });
  }

  /// Parses the body and finds out which of varargs, kwargs and caller it names.
  void parse_macro_body(MacroNode& node, std::string_view end) {
    const bool soft = std::exchange(soft_, false);
    const bool in_loop = std::exchange(in_loop_, false);
    const bool varargs = std::exchange(uses_varargs_, false);
    const bool kwargs = std::exchange(uses_kwargs_, false);
    const bool caller = std::exchange(uses_caller_, false);
    node.body = parse_block({end});
    expect_name(end);
    node.takes_varargs = uses_varargs_ && !has_parameter(node, program_.varargs);
    node.takes_kwargs = uses_kwargs_ && !has_parameter(node, program_.kwargs);
    node.takes_caller = uses_caller_ && !has_parameter(node, program_.caller);
    uses_varargs_ = uses_varargs_ || varargs;
    uses_kwargs_ = uses_kwargs_ || kwargs;
    uses_caller_ = uses_caller_ || caller;
    in_loop_ = in_loop;
    soft_ = soft;
  }

  Node* parse_macro(std::uint32_t line) {
    auto& node = add<MacroNode>(NodeKind::kMacro, line);
    const Lexeme& name = expect(Token::kName, "name");
    name_target(name);
    node.title = name.text;
    node.id = intern(name.text);
    parse_signature(node);
    parse_macro_body(node, "endmacro");
    return &node;
  }

  Node* parse_call_block(std::uint32_t line) {
    auto& node = add<MacroNode>(NodeKind::kCallBlock, line);
    node.title = "caller";
    if (is_op("(")) parse_signature(node);
    node.call = parse_expression();
    if (node.call->kind != ExprKind::kCall) fail_at(line, "expected call");
    parse_macro_body(node, "endcall");
    return &node;
  }

  bool in_loop_ = false;  ///< break and continue are allowed here
};

}  // namespace

Program parse_template(std::string_view source, int depth) {
  Program program = Parser(tokenize(source), depth).run();
  analyze_scopes(program);
  return program;
}

}  // namespace lancet::jinja
