#include "distill/minhash/sha1_lanes.h"

#include <algorithm>
#include <cstring>

#include "core/bytes.h"
#include "core/dispatch.h"

namespace lancet {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kBlockBytes = 64;
constexpr std::uint32_t kStart[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

/// Lane l of word w is w[l]; loops over lanes become vector instructions.
using Lanes = std::uint32_t[kLanes];

[[gnu::always_inline]] inline std::uint32_t rotate(std::uint32_t x, unsigned n) {
  return x << n | x >> (32 - n);
}

/// One block of 64 bytes for every lane: words[16], then state[5] += rounds(state, words).
struct Block {
  template <typename Mix>
  [[gnu::always_inline]] static void rounds(int from, int to, std::uint32_t constant, Lanes* w,
                                            Lanes* s, Mix mix) {
    for (int t = from; t < to; ++t) {
      for (std::size_t l = 0; l < kLanes; ++l) {
        if (t >= 16)
          w[t % 16][l] = rotate(
              w[(t + 13) % 16][l] ^ w[(t + 8) % 16][l] ^ w[(t + 2) % 16][l] ^ w[t % 16][l], 1);
        const std::uint32_t next =
            rotate(s[0][l], 5) + mix(s[1][l], s[2][l], s[3][l]) + s[4][l] + constant + w[t % 16][l];
        s[4][l] = s[3][l];
        s[3][l] = s[2][l];
        s[2][l] = rotate(s[1][l], 30);
        s[1][l] = s[0][l];
        s[0][l] = next;
      }
    }
  }

  [[gnu::always_inline]] static void run(std::uint32_t* words, std::uint32_t* state) {
    auto* w = reinterpret_cast<Lanes*>(words);
    auto* h = reinterpret_cast<Lanes*>(state);
    Lanes s[5];
    std::memcpy(s, state, sizeof s);
    using U = std::uint32_t;
    rounds(0, 20, 0x5a827999, w, s, [](U b, U c, U d) { return (b & c) | (~b & d); });
    rounds(20, 40, 0x6ed9eba1, w, s, [](U b, U c, U d) { return b ^ c ^ d; });
    rounds(40, 60, 0x8f1bbcdc, w, s, [](U b, U c, U d) { return (b & c) | (b & d) | (c & d); });
    rounds(60, 80, 0xca62c1d6, w, s, [](U b, U c, U d) { return b ^ c ^ d; });
    for (int i = 0; i < 5; ++i) {
      for (std::size_t l = 0; l < kLanes; ++l) h[i][l] += s[i][l];
    }
  }
};

std::size_t blocks_of(std::size_t bytes) { return (bytes + 9 + kBlockBytes - 1) / kBlockBytes; }

/// Block `index` of the padded text into column `lane`, as big-endian words.
void load_block(std::string_view text, std::size_t index, std::size_t lane, std::uint32_t* words) {
  unsigned char bytes[kBlockBytes] = {};
  const std::size_t begin = index * kBlockBytes;
  if (begin <= text.size()) {
    const std::size_t size = std::min(kBlockBytes, text.size() - begin);
    std::memcpy(bytes, text.data() + begin, size);
    if (size < kBlockBytes) bytes[size] = 0x80;
  }
  for (std::size_t i = 0; i < 16; ++i)
    words[i * kLanes + lane] = __builtin_bswap32(load_le<std::uint32_t>(bytes + 4 * i));
  if (index + 1 != blocks_of(text.size())) return;
  const std::uint64_t bits = 8 * static_cast<std::uint64_t>(text.size());
  words[14 * kLanes + lane] = static_cast<std::uint32_t>(bits >> 32U);
  words[15 * kLanes + lane] = static_cast<std::uint32_t>(bits);
}

/// Up to kLanes texts of the same number of blocks.
void hash_group(std::span<const std::string_view> texts, std::uint32_t* out) {
  alignas(64) std::uint32_t state[5 * kLanes];
  alignas(64) std::uint32_t words[16 * kLanes] = {};
  for (std::size_t i = 0; i < 5; ++i) std::fill_n(state + i * kLanes, kLanes, kStart[i]);
  for (std::size_t index = 0; index < blocks_of(texts[0].size()); ++index) {
    for (std::size_t lane = 0; lane < texts.size(); ++lane)
      load_block(texts[lane], index, lane, words);
    dispatch<Block>(static_cast<std::uint32_t*>(words), static_cast<std::uint32_t*>(state));
  }
  for (std::size_t lane = 0; lane < texts.size(); ++lane)
    out[lane] = __builtin_bswap32(state[lane]);
}

}  // namespace

void sha1_first_words(std::span<const std::string_view> texts, std::uint32_t* out) {
  for (std::size_t at = 0; at < texts.size();) {
    std::size_t end = at + 1;
    const std::size_t blocks = blocks_of(texts[at].size());
    while (end < texts.size() && end - at < kLanes && blocks_of(texts[end].size()) == blocks) ++end;
    hash_group(texts.subspan(at, end - at), out + at);
    at = end;
  }
}

}  // namespace lancet
