#pragma once
// Text of one sequence as it grows: what is certain goes out, stop strings never do.

#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"

namespace lancet {

class GrowingText {
 public:
  /// `stop` must outlive the object.
  GrowingText(const Tokenizer& tokenizer, const std::vector<std::string>& stop)
      : decoder_(tokenizer), stop_(stop) {}

  /// True when a stop string has been completed; the text then ends before it.
  [[nodiscard]] bool push(std::int32_t id) { return add(decoder_.push(id)); }
  [[nodiscard]] bool finish() { return add(decoder_.finish()); }

  /// Text that can no longer become part of a stop string (or `all` of it) and was not taken
  /// before.
  [[nodiscard]] std::string take(bool all);
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool add(const std::string& piece);
  [[nodiscard]] std::size_t held() const;

  StreamDecoder decoder_;
  const std::vector<std::string>& stop_;
  std::string text_;
  std::size_t taken_ = 0;
};

}  // namespace lancet
