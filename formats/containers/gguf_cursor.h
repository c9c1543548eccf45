#pragma once
// Bounded reading of a GGUF header, inside the reader only: every step checks what is left before
// it moves.

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"

namespace lancet::gguf {

class Cursor {
 public:
  /// `source` names the file in errors and must outlive the cursor.
  Cursor(Bytes bytes, std::string_view source) : bytes_(bytes), source_(source) {}

  [[nodiscard]] std::uint64_t offset() const noexcept { return at_; }
  [[nodiscard]] std::uint64_t remaining() const noexcept { return bytes_.size() - at_; }
  void seek(std::uint64_t offset) noexcept { at_ = offset; }
  /// What is being read ("key 'a.b'", "tensor 'x'"), for errors.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  [[noreturn]] void reject(std::uint64_t offset, const std::string& expected,
                           const std::string& found, std::string hint = {}) const {
    fail(ErrorKind::kInput, "gguf",
         fmt::format("expected {}, found {} ({}{}{}, offset {})", expected, found,
                     printable(source_, 400), subject_.empty() ? "" : ", ", subject_, offset),
         std::move(hint));
  }

  /// Throws unless `count` bytes of `what` are left.
  void require(std::uint64_t count, std::string_view what) const {
    if (count <= remaining()) return;
    reject(at_, fmt::format("{} bytes of {}", count, what),
           fmt::format("{} before the end of the file", remaining()),
           "the file is truncated or damaged: fetch it again");
  }

  void skip(std::uint64_t count, std::string_view what) {
    require(count, what);
    at_ += count;
  }

  template <typename T>
  [[nodiscard]] T number(std::string_view what) {
    require(sizeof(T), what);
    const T value = load_le<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }

  /// A u64 length and that many bytes, not copied.
  [[nodiscard]] std::string_view text(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    require(length, what);
    const std::string_view view(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return view;
  }

  /// A u64 count of things of at least `smallest` bytes each, which must have room in what is left.
  [[nodiscard]] std::uint64_t count(std::uint64_t smallest, std::string_view what) {
    const std::uint64_t begin = at_;
    const auto value = number<std::uint64_t>(what);
    check_count(value, smallest, begin, what);
    return value;
  }

  void check_count(std::uint64_t value, std::uint64_t smallest, std::uint64_t begin,
                   std::string_view what) const {
    if (value <= remaining() / smallest) return;
    reject(begin,
           fmt::format("{} of at most {}, all that the rest of the file can hold", what,
                       remaining() / smallest),
           fmt::to_string(value), "the file is truncated or damaged: fetch it again");
  }

 private:
  Bytes bytes_;
  std::string_view source_;
  std::uint64_t at_ = 0;
  std::string subject_;
};

}  // namespace lancet::gguf
