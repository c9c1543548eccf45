#include "formats/template/lexer.h"

#include <algorithm>
#include <array>

#include "core/text.h"
#include "formats/template/literal.h"
#include "formats/template/runtime.h"
#include "formats/template/unicode.h"

namespace lancet::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

/// \r\n and \r become \n; one newline at the very end is dropped (keep_trailing_newline is off).
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalize(source)) {}

  std::vector<Lexeme> run() {
    while (at_ < text_.size()) root();
    push(Token::kEnd, {});
    return std::move(out_);
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool starts(std::string_view what) const {
    return std::string_view(text_).substr(at_, what.size()) == what;
  }
  [[nodiscard]] std::string_view rest(std::size_t from) const {
    return std::string_view(text_).substr(from);
  }

  void push(Token token, std::string text) {
    Lexeme lexeme;
    lexeme.token = token;
    lexeme.line = line_;
    lexeme.text = std::move(text);
    out_.push_back(std::move(lexeme));
  }
  void advance(std::size_t to) {
    line_ += static_cast<std::uint32_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                                   text_.begin() + static_cast<std::ptrdiff_t>(to),
                                                   '\n'));
    at_ = to;
  }
  [[nodiscard]] std::size_t skip_space(std::size_t from) const {
    return text_.size() - strip_left(rest(from)).size();
  }

  /// Emits template text that ends before a tag with this sign ('-', '+' or 0).
  void data(std::size_t end, char sign, bool variable) {
    std::string_view text = std::string_view(text_).substr(at_, end - at_);
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && !variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t from = newline == std::string_view::npos ? 0 : newline + 1;
      if ((from > 0 || line_starting_) && strip_left(text.substr(from)).empty()) {
        text = text.substr(0, from);
      }
    }
    if (!text.empty()) push(Token::kData, std::string(text));
    advance(end);
  }

  /// The end of a tag at `from`: `close` with an optional sign; npos when it is not there.
  /// `plus`: whether "+" may stand before it; `trim`: whether one newline after it goes.
  [[nodiscard]] std::size_t tag_end(std::size_t from, std::string_view close, bool plus,
                                    bool trim) const {
    const std::string_view text = rest(from);
    if (text.starts_with('-') && text.substr(1).starts_with(close)) {
      return skip_space(from + 1 + close.size());
    }
    if (plus && text.starts_with('+') && text.substr(1).starts_with(close))
      return from + 1 + close.size();
    if (!text.starts_with(close)) return std::string_view::npos;
    const std::size_t end = from + close.size();
    return trim && end < text_.size() && text_[end] == '\n' ? end + 1 : end;
  }

  void finish(std::size_t end) {
    line_starting_ = end > 0 && text_[end - 1] == '\n';
    advance(end);
  }

  void root() {
    std::size_t open = at_;
    for (;; ++open) {
      open = text_.find('{', open);
      if (open == std::string::npos || open + 1 >= text_.size()) {
        push(Token::kData, text_.substr(at_));
        advance(text_.size());
        return;
      }
      const char second = text_[open + 1];
      if (second == '{' || second == '%' || second == '#') break;
    }
    const char kind = text_[open + 1];
    const char next = open + 2 < text_.size() ? text_[open + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    data(open, sign, kind == '{');
    const std::size_t inside = open + 2 + (sign != '\0' ? 1 : 0);
    if (kind == '#') {
      comment(inside);
    } else if (kind == '{') {
      push(Token::kVariableBegin, {});
      advance(inside);
      code("}}", Token::kVariableEnd);
    } else if (!raw(inside)) {
      push(Token::kBlockBegin, {});
      advance(inside);
      code("%}", Token::kBlockEnd);
    }
  }

  void comment(std::size_t inside) {
    for (std::size_t i = inside; i < text_.size(); ++i) {
      const std::size_t end = tag_end(i, "#}", true, true);
      if (end != std::string_view::npos) {
        finish(end);
        return;
      }
    }
    fail_at(line_, "Missing end of comment tag");
  }

  /// {% raw %} ... {% endraw %}; false when this block is another one.
  bool raw(std::size_t inside) {
    const std::size_t word = skip_space(inside);
    if (rest(word).substr(0, 3) != "raw") return false;
    const std::size_t body = tag_end(skip_space(word + 3), "%}", false, false);
    if (body == std::string_view::npos) return false;
    finish(body);
    for (std::size_t open = text_.find("{%", at_); open != std::string::npos;
         open = text_.find("{%", open + 1)) {
      const char next = open + 2 < text_.size() ? text_[open + 2] : '\0';
      const char sign = next == '-' || next == '+' ? next : '\0';
      const std::size_t name = skip_space(open + 2 + (sign != '\0' ? 1 : 0));
      if (rest(name).substr(0, 6) != "endraw") continue;
      const std::size_t end = tag_end(skip_space(name + 6), "%}", true, true);
      if (end == std::string_view::npos) continue;
      data(open, sign, false);
      finish(end);
      return true;
    }
    fail_at(line_, "Missing end of raw directive");
  }

  void code(std::string_view close, Token closing) {
    std::string open_brackets;
    while (at_ < text_.size()) {
      if (open_brackets.empty()) {
        const bool block = closing == Token::kBlockEnd;
        const std::size_t end = tag_end(at_, close, block, block);
        if (end != std::string_view::npos) {
          push(closing, {});
          finish(end);
          return;
        }
      }
      const std::size_t after = skip_space(at_);
      if (after != at_) {
        advance(after);
      } else if (!number() && !name() && !string()) {
        operation(open_brackets);
      }
    }
  }

  bool number() {
    const NumberText found = scan_number(text_, at_);
    if (found.bytes == 0) return false;
    push(found.is_real ? Token::kFloat : Token::kInteger, {});
    if (!parse_number(std::string_view(text_).substr(at_, found.bytes), found.is_real,
                      out_.back().integer, out_.back().real)) {
      fail_at(line_, "a number beyond 64 bits");
    }
    at_ += found.bytes;
    return true;
  }

  bool name() {
    std::size_t end = at_;
    while (end < text_.size()) {
      std::size_t after = end;
      const char32_t c = next_code_point(text_, after);
      if (!is_word(c)) break;
      end = after;
    }
    if (end == at_) return false;
    push(Token::kName, text_.substr(at_, end - at_));
    at_ = end;
    return true;
  }

  bool string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return false;
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2U : 1U;
    if (end >= text_.size()) return false;
    push(Token::kString, unescape(std::string_view(text_).substr(at_ + 1, end - at_ - 1), line_));
    advance(end + 1);
    return true;
  }

  void operation(std::string& open_brackets) {
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](std::string_view op) { return starts(op); });
    if (found == std::end(kOperators)) {
      fail_at(line_, "unexpected char '" + text_.substr(at_, code_point_bytes(text_[at_])) + "'");
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') {
      open_brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open_brackets.empty()) fail_at(line_, "unexpected '" + std::string(1, c) + "'");
      if (open_brackets.back() != c) {
        fail_at(line_, "unexpected '" + std::string(1, c) + "', expected '" +
                           std::string(1, open_brackets.back()) + "'");
      }
      open_brackets.pop_back();
    }
    push(Token::kOperator, std::string(*found));
    at_ += found->size();
  }

  std::string text_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<Lexeme> out_;
};

}  // namespace

std::vector<Lexeme> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace lancet::jinja
