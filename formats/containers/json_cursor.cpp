#include "formats/containers/json_cursor.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

}  // namespace

void JsonCursor::fail_here(const std::string& message) const {
  fail(ErrorKind::kInput, operation_,
       fmt::format("{}: {}{}{} at byte {}", source_, subject_, subject_.empty() ? "" : ": ",
                   message, offset()),
       "the file is damaged or was not written by a correct program");
}

std::string JsonCursor::found() const {
  if (at_ >= text_.size()) return "found the end of the text";
  return fmt::format("found '{}'", printable(text_.substr(at_, 12), 24));
}

char JsonCursor::peek() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonCursor::open(char bracket, std::string_view what) {
  if (peek() != bracket || at_ >= text_.size()) {
    fail_here(fmt::format("expected {} for {}, {}", bracket == '{' ? "an object" : "an array", what,
                          found()));
  }
  ++at_;
}

bool JsonCursor::next(char closing, bool first) {
  const char c = peek();
  if (c == closing) {
    ++at_;
    return false;
  }
  if (first) return true;
  if (c != ',') fail_here(fmt::format("expected ',' or '{}', {}", closing, found()));
  ++at_;
  return true;
}

bool JsonCursor::next_key(bool first, std::string& key) {
  if (!next('}', first)) return false;
  key = string("a key", text_.size());
  if (peek() != ':') fail_here(fmt::format("expected ':' after a key, {}", found()));
  ++at_;
  return true;
}

std::uint32_t JsonCursor::hex4() {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    std::uint32_t digit = 0;
    if (is_digit(c)) {
      digit = static_cast<std::uint32_t>(c - '0');
    } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
      digit = static_cast<std::uint32_t>((c | 0x20) - 'a') + 10;
    } else {
      fail_here("expected four hex digits after \\u, " + found());
    }
    value = value * 16 + digit;
  }
  return value;
}

void JsonCursor::append_escape(std::string& out) {
  constexpr std::string_view kFrom = "\"\\/bfnrt";
  constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  if (const auto place = kFrom.find(c); c != '\0' && place != std::string_view::npos) {
    out += kTo[place];
    ++at_;
    return;
  }
  if (c != 'u') fail_here("expected a JSON escape, " + found());
  ++at_;
  std::uint32_t code = hex4();
  if (code >= 0xD800 && code < 0xDC00) {
    if (text_.substr(at_, 2) != "\\u")
      fail_here("expected the second half of a surrogate pair, " + found());
    at_ += 2;
    const std::uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF)
      fail_here("expected the second half of a surrogate pair, found another code");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code <= 0xDFFF) {
    fail_here("expected a character, found half of a surrogate pair");
  }
  append_utf8(out, static_cast<char32_t>(code));
}

std::string JsonCursor::string(std::string_view what, std::uint64_t limit) {
  if (peek() != '"') fail_here(fmt::format("expected a string for {}, {}", what, found()));
  ++at_;
  std::string out;
  while (true) {
    std::size_t end = at_;
    while (end < text_.size() && text_[end] != '"' && text_[end] != '\\' &&
           static_cast<unsigned char>(text_[end]) >= 0x20) {
      ++end;
    }
    if (out.size() + (end - at_) > limit) {
      fail_here(fmt::format("expected at most {} bytes for {}, found more", limit, what));
    }
    out.append(text_.substr(at_, end - at_));
    at_ = end;
    if (at_ >= text_.size())
      fail_here(fmt::format("expected the closing quote of {}, {}", what, found()));
    const char c = text_[at_];
    if (c != '"' && c != '\\')
      fail_here(fmt::format("expected no bare control character in {}, {}", what, found()));
    ++at_;
    if (c == '"') return out;
    append_escape(out);
  }
}

bool JsonCursor::at_natural() {
  if (!is_digit(peek())) return false;
  std::size_t end = at_;
  while (end < text_.size() && is_digit(text_[end])) ++end;
  const char c = end < text_.size() ? text_[end] : '\0';
  return c != '.' && c != 'e' && c != 'E';
}

std::uint64_t JsonCursor::natural(std::string_view what) {
  if (!at_natural()) fail_here(fmt::format("expected a natural number for {}, {}", what, found()));
  if (text_[at_] == '0' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
    fail_here(fmt::format("expected a number without leading zeros for {}, {}", what, found()));
  }
  std::uint64_t value = 0;
  const std::size_t begin = at_;
  for (std::size_t end = at_; end < text_.size() && is_digit(text_[end]); ++end) {
    const auto digit = static_cast<std::uint64_t>(text_[end] - '0');
    if (value > (UINT64_MAX - digit) / 10) {
      fail_here(fmt::format("expected a number below 2^64 for {}, {}", what, found()));
    }
    value = value * 10 + digit;
    at_ = end + 1;
  }
  if (at_ == begin) fail_here("expected digits, " + found());
  return value;
}

void JsonCursor::skip_number() {
  const auto digits = [&] {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == begin) fail_here("expected a digit, " + found());
  };
  if (text_[at_] == '-') ++at_;
  if (at_ < text_.size() && text_[at_] == '0') {
    ++at_;
  } else {
    digits();
  }
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    digits();
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    digits();
  }
}

void JsonCursor::skip_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) fail_here("expected a JSON value, " + found());
  at_ += word.size();
}

void JsonCursor::skip_value(int depth) {
  const char c = peek();
  if (c == '{' || c == '[') {
    if (depth == 0) fail_here("expected a flatter value, found deeper nesting");
    ++at_;
    std::string key;
    for (bool first = true; c == '{' ? next_key(first, key) : next(']', first); first = false) {
      skip_value(depth - 1);
    }
  } else if (c == '"') {
    (void)string("a value", text_.size());
  } else if (c == '-' || is_digit(c)) {
    skip_number();
  } else {
    skip_word(c == 't' ? "true" : c == 'f' ? "false" : "null");
  }
}

void JsonCursor::finish() {
  (void)peek();
  if (at_ < text_.size()) fail_here("expected nothing after the object, " + found());
}

}  // namespace lancet
