#include "distill/minhash/signature.h"

#include <algorithm>
#include <random>

#include "core/dispatch.h"
#include "distill/minhash/sha1_lanes.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::size_t kLanes = 32;
constexpr std::uint64_t kPrime = (1ULL << 61U) - 1;

/// numpy's RandomState(seed).randint(low, 2^61 - 1, dtype=uint64): 64 bits of MT19937, high word
/// first, masked to 61 bits, drawn again until they are in range.
class LegacyRandom {
 public:
  explicit LegacyRandom(std::uint32_t seed) : engine_(seed) {}
  std::uint64_t draw(std::uint64_t low) {
    const std::uint64_t range = kPrime - 1 - low;
    for (;;) {
      const std::uint64_t high = engine_();
      const std::uint64_t value = (high << 32U | engine_()) & kPrime;
      if (value <= range) return low + value;
    }
  }

 private:
  std::mt19937 engine_;
};

/// out[p] = min(out[p], h_p(hash)) for every hash; `count` a multiple of kLanes.
struct Permute {
  [[gnu::always_inline]] static void run(const std::uint64_t* a, const std::uint64_t* b,
                                         std::size_t count, const std::uint32_t* hashes,
                                         std::size_t size, std::uint32_t* out) {
    for (std::size_t p = 0; p < count; p += kLanes) {
      std::uint64_t least[kLanes];
      for (std::size_t l = 0; l < kLanes; ++l) least[l] = out[p + l];
      for (std::size_t i = 0; i < size; ++i) {
        const std::uint64_t hash = hashes[i];
        for (std::size_t l = 0; l < kLanes; ++l) {
          std::uint64_t value = a[p + l] * hash + b[p + l];
          value = (value & kPrime) + (value >> 61U);  // at most kPrime + 7
          const std::uint64_t less = value - kPrime;  // wraps when value < kPrime
          value = (value < less ? value : less) & 0xffffffffULL;
          least[l] = value < least[l] ? value : least[l];
        }
      }
      for (std::size_t l = 0; l < kLanes; ++l) out[p + l] = static_cast<std::uint32_t>(least[l]);
    }
  }
};

}  // namespace

MinHash::MinHash(std::size_t permutations, std::uint32_t seed) : count_(permutations) {
  LegacyRandom random(seed);
  const std::size_t filled = (permutations + kLanes - 1) / kLanes * kLanes;
  a_.resize(filled);
  b_.resize(filled);
  for (std::size_t p = 0; p < permutations; ++p) {
    a_[p] = random.draw(1);
    b_[p] = random.draw(0);
  }
}

Signature MinHash::sign(const std::vector<std::string_view>& shingles) const {
  constexpr std::size_t kBlock = 1024;
  Signature signature(a_.size(), 0xffffffffU);
  std::uint32_t hashes[kBlock];
  for (std::size_t at = 0; at < shingles.size(); at += kBlock) {
    const std::size_t size = std::min(kBlock, shingles.size() - at);
    sha1_first_words({shingles.data() + at, size}, hashes);
    dispatch<Permute>(a_.data(), b_.data(), a_.size(), static_cast<const std::uint32_t*>(hashes),
                      size, signature.data());
  }
  signature.resize(count_);
  return signature;
}

double similarity(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) noexcept {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) equal += static_cast<std::size_t>(a[i] == b[i]);
  return static_cast<double>(equal) / static_cast<double>(a.size());
}

std::vector<std::string_view> character_shingles(std::string_view text, std::size_t size) {
  std::vector<std::string_view> out;
  if (text.empty()) return out;
  std::size_t end = 0, length = 0;
  while (end < text.size() && length < size) {
    (void)decode_at(text.data(), end);
    ++length;
  }
  out.reserve(text.size());
  for (std::size_t begin = 0;;) {
    out.push_back(text.substr(begin, end - begin));
    if (end >= text.size()) return out;
    (void)decode_at(text.data(), end);
    (void)decode_at(text.data(), begin);
  }
}

std::vector<std::string_view> word_shingles(const std::vector<std::string_view>& words,
                                            std::size_t size) {
  std::vector<std::string_view> out;
  if (words.empty()) return out;
  const std::size_t length = std::min(size, words.size());
  for (std::size_t i = 0; i + length <= words.size(); ++i) {
    const char* end = words[i + length - 1].data() + words[i + length - 1].size();
    out.emplace_back(words[i].data(), static_cast<std::size_t>(end - words[i].data()));
  }
  return out;
}

}  // namespace lancet
