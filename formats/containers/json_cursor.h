#pragma once
// A pull reader for the small, hostile JSON of checkpoint headers and shard indexes: strict RFC
// 8259 text, natural numbers only where a number is asked for, every error with its byte offset. It
// allocates the strings it returns and nothing else. Duplicate keys are the caller's to find (it
// knows which table).

#include <cstdint>
#include <string>
#include <string_view>

namespace lancet {

class JsonCursor {
 public:
  /// `text` must be valid UTF-8. Errors: Error(kInput, operation, "source: ... at byte base +
  /// offset").
  JsonCursor(std::string_view text, std::string_view operation, std::string_view source,
             std::uint64_t base = 0)
      : text_(text), operation_(operation), source_(source), base_(base) {}

  /// Names the thing being read in errors ("tensor 'x'").
  void set_subject(std::string_view subject) { subject_ = subject; }

  void open_object(std::string_view what) { open('{', what); }
  void open_array(std::string_view what) { open('[', what); }
  /// Before the first element (`first`) or after one: true when another follows, false at the end,
  /// which is then consumed.
  [[nodiscard]] bool next_element(bool first) { return next(']', first); }
  /// The same in an object; reads the key and its colon.
  [[nodiscard]] bool next_key(bool first, std::string& key);

  /// `limit`: most bytes of the unescaped string.
  [[nodiscard]] std::string string(std::string_view what, std::uint64_t limit);
  /// Digits only: no sign, fraction, exponent or leading zero; below 2^64.
  [[nodiscard]] std::uint64_t natural(std::string_view what);
  /// Reads over any value nested at most `depth` deep; numbers must be JSON numbers.
  void skip_value(int depth);
  /// The next value begins with `c`.
  [[nodiscard]] bool at(char c) { return peek() == c; }
  /// The next value begins a number made of digits only.
  [[nodiscard]] bool at_natural();
  /// Only white space may follow.
  void finish();

  [[nodiscard]] std::uint64_t offset() const noexcept { return base_ + at_; }
  [[noreturn]] void fail_here(const std::string& message) const;

 private:
  std::string_view text_;
  std::string_view operation_;
  std::string_view source_;
  std::string subject_;
  std::uint64_t base_;
  std::size_t at_ = 0;

  [[nodiscard]] char peek();
  void open(char bracket, std::string_view what);
  [[nodiscard]] bool next(char closing, bool first);
  void append_escape(std::string& out);
  [[nodiscard]] std::uint32_t hex4();
  void skip_number();
  void skip_word(std::string_view word);
  [[nodiscard]] std::string found() const;
};

}  // namespace lancet
