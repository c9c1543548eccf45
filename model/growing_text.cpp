#include "model/growing_text.h"

#include <algorithm>
#include <string_view>

namespace lancet {

std::string GrowingText::take(bool all) {
  const std::size_t end = all ? text_.size() : text_.size() - held();
  std::string out = text_.substr(taken_, end - taken_);
  taken_ = end;
  return out;
}

bool GrowingText::add(const std::string& piece) {
  const std::size_t old = text_.size();
  text_ += piece;
  std::size_t cut = std::string::npos;
  for (const std::string& stop : stop_) {
    cut = std::min(cut, text_.find(stop, old - std::min(old, stop.size() - 1)));
  }
  if (cut == std::string::npos) return false;
  text_.resize(std::max(cut, taken_));
  return true;
}

/// Length of the longest end of the text that begins a stop string.
std::size_t GrowingText::held() const {
  std::size_t most = 0;
  for (const std::string& stop : stop_) {
    for (std::size_t n = std::min(stop.size() - 1, text_.size() - taken_); n > most; --n) {
      if (text_.ends_with(std::string_view(stop).substr(0, n))) most = n;
    }
  }
  return most;
}

}  // namespace lancet
