#include "model/lookup.h"

#include <algorithm>

#include "model/spec.h"

namespace lancet {
namespace {

/// Behind the token that is read along with them.
constexpr std::int64_t kMostGuessed = kFewTokens - 1;
constexpr int kMostFailures = 6;  ///< that make a rest longer: up to 63 tokens

}  // namespace

Lookup::Lookup(std::span<const std::int32_t> text) {
  for (const std::int32_t id : text) see(id);
}

std::uint64_t Lookup::key(std::size_t length) const {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a, a token at a time
  for (std::size_t i = text_.size() - length; i < text_.size(); ++i)
    hash = (hash ^ static_cast<std::uint32_t>(text_[i])) * 0x100000001b3U;
  return hash;
}

void Lookup::see(std::int32_t id) {
  for (std::size_t length = kShortest; length <= std::min(kLongest, text_.size()); ++length)
    places_[length - kShortest][key(length)] = text_.size();
  text_.push_back(id);
}

/// Where the token behind the last `length` tokens was, the last time; 0 where they are new.
std::size_t Lookup::find(std::size_t length) const {
  const auto& places = places_[length - kShortest];
  const auto found = places.find(key(length));
  if (found == places.end()) return 0;
  const auto own = std::span(text_).last(length);
  const auto other = std::span(text_).subspan(found->second - length, length);
  return std::ranges::equal(own, other) ? found->second : 0;
}

std::vector<std::int32_t> Lookup::guess(std::int64_t most) {
  if (rest_ > 0) {
    --rest_;
    return {};
  }
  for (std::size_t length = std::min(kLongest, text_.size()); length >= kShortest; --length) {
    const std::size_t begin = find(length);
    if (begin == 0) continue;
    const auto count = std::min({most, length_, static_cast<std::int64_t>(text_.size() - begin)});
    if (count <= 0) return {};
    const auto from = text_.begin() + static_cast<std::ptrdiff_t>(begin);
    return {from, from + count};
  }
  return {};
}

void Lookup::learn(std::size_t guessed, std::size_t right) {
  if (right == guessed) {
    length_ = std::min(kMostGuessed, 2 * length_);
  } else {
    length_ = std::max<std::int64_t>(2, static_cast<std::int64_t>(right));
  }
  failures_ = right > 0 ? 0 : std::min(kMostFailures, failures_ + 1);
  if (failures_ > 0) rest_ = (std::int64_t{1} << failures_) - 1;
}

}  // namespace lancet
