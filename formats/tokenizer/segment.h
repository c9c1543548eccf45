#pragma once
// A run of text on its way through the pipeline, with the place in the input that each of its bytes
// came from.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/function_ref.h"

namespace lancet {

/// Byte range [begin, end) of the input.
struct ByteSpan {
  std::uint32_t begin;
  std::uint32_t end;
};

/// Memory of one encode call: texts and spans that the pipeline makes. Released together.
class TextArena : public std::pmr::monotonic_buffer_resource {
 public:
  /// All texts made of an input of so many bytes may have 64 times as many, and 1 MiB: a file whose
  /// normalizers double the text again and again is stopped.
  void begin(std::uint64_t input_bytes) noexcept { left_ = (1U << 20U) + 64 * input_bytes; }
  /// Error(kInput) when a text of so many bytes is more than may be made.
  void check(std::uint64_t bytes) const {
    if (bytes > left_) fail_too_long();
  }
  void spend(std::uint64_t bytes) {
    check(bytes);
    left_ -= bytes;
  }

 private:
  [[noreturn]] static void fail_too_long();
  std::uint64_t left_ = 1U << 20U;
};

struct Segment {
  std::string_view text;  ///< views the input or a TextArena
  const ByteSpan* spans =
      nullptr;               ///< per byte of text; null: byte i came from input byte origin + i
  std::uint32_t origin = 0;  ///< where the segment begins in the input

  /// Input range of text[begin, end).
  [[nodiscard]] ByteSpan input_range(std::size_t begin, std::size_t end) const noexcept {
    if (spans == nullptr) {
      return {origin + static_cast<std::uint32_t>(begin), origin + static_cast<std::uint32_t>(end)};
    }
    if (begin == end) {
      const std::uint32_t at = begin < text.size() ? spans[begin].begin : origin;
      return {at, at};
    }
    return {spans[begin].begin, spans[end - 1].end};
  }

  [[nodiscard]] Segment slice(std::size_t begin, std::size_t end) const noexcept {
    if (spans == nullptr) {
      return {text.substr(begin, end - begin), nullptr, origin + static_cast<std::uint32_t>(begin)};
    }
    return {text.substr(begin, end - begin), spans + begin,
            begin < text.size() ? spans[begin].begin : origin};
  }
};

using SegmentSink = FunctionRef<void(const Segment&)>;

/// Builds a changed text together with its spans.
class SegmentBuilder {
 public:
  SegmentBuilder(const Segment& from, TextArena& arena) : from_(from), arena_(arena) {
    text_.reserve(from.text.size() + 16);
  }

  /// Copies from.text[begin, end) with its spans.
  void keep(std::size_t begin, std::size_t end) {
    text_.append(from_.text.substr(begin, end - begin));
    if (from_.spans != nullptr) {
      spans_.insert(spans_.end(), from_.spans + begin, from_.spans + end);
      return;
    }
    const std::size_t before = spans_.size();
    spans_.resize(before + (end - begin));
    auto at = from_.origin + static_cast<std::uint32_t>(begin);
    for (std::size_t i = before; i < spans_.size(); ++i, ++at) spans_[i] = {at, at + 1};
  }
  /// Appends `text` in place of from.text[begin, end): every byte of it gets that whole range.
  void put(std::string_view text, std::size_t begin, std::size_t end) {
    text_.append(text);
    arena_.check(text_.size());
    spans_.insert(spans_.end(), text.size(), from_.input_range(begin, end));
  }
  /// Takes the last `bytes` bytes back.
  void drop(std::size_t bytes) {
    text_.resize(text_.size() - bytes);
    spans_.resize(text_.size());
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

  /// The result, copied into the arena.
  [[nodiscard]] Segment finish() const {
    if (text_.empty()) return {{}, nullptr, from_.origin};
    arena_.spend(text_.size());
    auto* text = static_cast<char*>(arena_.allocate(text_.size(), 1));
    std::memcpy(text, text_.data(), text_.size());
    auto* spans = static_cast<ByteSpan*>(
        arena_.allocate(spans_.size() * sizeof(ByteSpan), alignof(ByteSpan)));
    std::memcpy(spans, spans_.data(), spans_.size() * sizeof(ByteSpan));
    return {{text, text_.size()}, spans, spans_.front().begin};
  }

 private:
  Segment from_;
  TextArena& arena_;
  std::string text_;
  std::vector<ByteSpan> spans_;
};

}  // namespace lancet
