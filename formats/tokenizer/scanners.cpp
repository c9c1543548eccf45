#include "formats/tokenizer/scanners.h"

#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

/// The text with its class table at hand; positions are byte offsets of code point starts.
class Cursor {
 public:
  explicit Cursor(std::string_view text)
      : text_(text.data()), size_(text.size()), classes_(char_classes()) {}

  [[nodiscard]] bool at_end(std::size_t at) const { return at >= size_; }
  [[nodiscard]] char byte(std::size_t at) const { return text_[at]; }
  /// Class of the code point at `at`, which advances past it.
  std::uint8_t take(std::size_t& at) const { return classes_[decode_at(text_, at)] & kMask; }
  [[nodiscard]] std::uint8_t peek(std::size_t at) const { return take(at); }

  /// End of the longest run from `at` of code points whose class is `wanted` (0: none of the
  /// three).
  [[nodiscard]] std::size_t run(std::size_t at, std::uint8_t wanted) const {
    while (at < size_) {
      std::size_t next = at;
      if (take(next) != wanted) break;
      at = next;
    }
    return at;
  }
  [[nodiscard]] std::size_t newlines(std::size_t at) const {
    while (at < size_ && (text_[at] == '\r' || text_[at] == '\n')) ++at;
    return at;
  }
  /// \s+(?!\S)|\s+ over the whitespace run [at, end).
  [[nodiscard]] std::size_t spaces(std::size_t at, std::size_t end) const {
    if (end == size_) return end;
    const std::size_t last = previous_start(text_, end);
    return last > at ? last : end;
  }

 private:
  static constexpr std::uint8_t kMask = kLetter | kNumber | kSpace;
  const char* text_;
  std::size_t size_;
  const std::uint8_t* classes_;
};

/// 's|'t|'re|'ve|'m|'ll|'d after the apostrophe at `at`: bytes matched in all, or 0.
std::size_t contraction(std::string_view text, std::size_t at, bool fold) {
  const auto letter = [&](std::size_t i) -> char {
    if (at + i >= text.size()) return 0;
    const char c = text[at + i];
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = letter(1);
  const char second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  if (fold && first == '\xC5' && second == '\xBF') return 3;  // U+017F folds to s
  return 0;
}

/// Llama 3 and Qwen 2, which take at most `digits` digits at once.
std::size_t scan_modern(std::string_view text, std::size_t at, int digits) {
  const Cursor cursor(text);
  const char first = text[at];
  if (first == '\'') {
    if (const std::size_t length = contraction(text, at, true); length != 0) return at + length;
  }
  std::size_t next = at;
  const std::uint8_t kind = cursor.take(next);
  if (kind == kLetter) return cursor.run(next, kLetter);
  if (kind == kNumber) {
    while (--digits > 0 && !cursor.at_end(next) && cursor.peek(next) == kNumber) cursor.take(next);
    return next;
  }
  if (first != '\r' && first != '\n' && !cursor.at_end(next) && cursor.peek(next) == kLetter) {
    return cursor.run(next, kLetter);
  }
  if (kind == 0) return cursor.newlines(cursor.run(next, 0));
  if (first == ' ' && !cursor.at_end(next) && cursor.peek(next) == 0) {
    return cursor.newlines(cursor.run(next, 0));
  }
  const std::size_t end = cursor.run(next, kSpace);
  for (std::size_t last = end; last > at; --last) {  // \s*[\r\n]+ up to the run's last line break
    if (text[last - 1] == '\r' || text[last - 1] == '\n') return last;
  }
  return cursor.spaces(at, end);
}

}  // namespace

std::size_t scan_gpt2(std::string_view text, std::size_t at) {
  const Cursor cursor(text);
  const char first = text[at];
  if (first == '\'') {
    if (const std::size_t length = contraction(text, at, false); length != 0) return at + length;
  }
  std::size_t next = at;
  const std::uint8_t kind = cursor.take(next);
  if (kind != kSpace) return cursor.run(next, kind);
  if (first == ' ' && !cursor.at_end(next)) {
    const std::uint8_t following = cursor.peek(next);
    if (following != kSpace) return cursor.run(next, following);
  }
  return cursor.spaces(at, cursor.run(next, kSpace));
}

std::size_t scan_llama3(std::string_view text, std::size_t at) { return scan_modern(text, at, 3); }

std::size_t scan_qwen2(std::string_view text, std::size_t at) { return scan_modern(text, at, 1); }

ScanFunction find_scanner(std::string_view pattern) noexcept {
  if (pattern == kGpt2Pattern) return scan_gpt2;
  if (pattern == kLlama3Pattern) return scan_llama3;
  if (pattern == kQwen2Pattern) return scan_qwen2;
  return nullptr;
}

}  // namespace lancet
