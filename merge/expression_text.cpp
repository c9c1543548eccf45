#include "merge/expression_text.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {

void ExpressionText::skip_blanks() {
  while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string::npos)
    ++at_;
}
bool ExpressionText::done() {
  skip_blanks();
  return at_ == text_.size();
}
bool ExpressionText::next_is(char c) {
  skip_blanks();
  return at_ < text_.size() && text_[at_] == c;
}
bool ExpressionText::take(char c) {
  if (!next_is(c)) return false;
  ++at_;
  return true;
}
void ExpressionText::need(char c) {
  if (!take(c)) refuse(fmt::format("expected '{}', found {}", c, found()));
}
std::string ExpressionText::rest() const { return printable(text_.substr(at_), 20); }
std::string ExpressionText::found() { return done() ? "the end" : fmt::format("'{}'", rest()); }

Node ExpressionText::place_at(std::size_t at) const {
  Node out;
  out.line = node_.line;
  const bool one_line = text_.find('\n') == std::string::npos;
  out.column = node_.column + (one_line ? static_cast<int>(at) + (node_.quoted ? 1 : 0) : 0);
  return out;
}
void ExpressionText::refuse(const std::string& message, std::string hint) const {
  reader_.refuse(place_at(at_), fmt::format("expression, character {}: {}", at_ + 1, message),
                 std::move(hint));
}

double ExpressionText::parse_number() {
  double value = 0;
  const char* begin = text_.data() + at_;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  if (error != std::errc() || !std::isfinite(value)) refuse("expected a number");
  at_ += static_cast<std::size_t>(end - begin);
  return value;
}

std::string ExpressionText::parse_name() {
  const auto inside = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  skip_blanks();
  const std::size_t begin = at_;
  while (at_ < text_.size() && inside(text_[at_])) ++at_;
  if (at_ == begin) refuse(fmt::format("expected a model or a number, found {}", found()));
  return text_.substr(begin, at_ - begin);
}

}  // namespace lancet
