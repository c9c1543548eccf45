// Any processor: the bits of tiles without tiles. For tests.

#include <bit>
#include <cstring>

#include "model/kernels/exact_fma.h"
#include "model/kernels/tiles.h"

#define LANCET_KERNEL
#define LANCET_INLINE inline

namespace lancet::kernels {
namespace {

struct TwinTile {
  std::uint32_t words[16][16];
};
thread_local TwinTile tiles[8];

void load(TwinTile& tile, const void* from, std::int64_t bytes) {
  for (int r = 0; r < 16; ++r)
    std::memcpy(tile.words[r], static_cast<const std::byte*>(from) + r * bytes, 64);
}
void store(const TwinTile& tile, void* to, std::int64_t bytes) {
  for (int r = 0; r < 16; ++r)
    std::memcpy(static_cast<std::byte*>(to) + r * bytes, tile.words[r], 64);
}
float low(std::uint32_t word) { return std::bit_cast<float>(word << 16U); }
float high(std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000U); }

void sum(TwinTile& c, const TwinTile& a, const TwinTile& b) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      float even = 0, odd = 0;
      for (int k = 0; k < 16; ++k) {
        even = exact_fma(low(a.words[i][k]), low(b.words[k][j]), even);
        odd = exact_fma(high(a.words[i][k]), high(b.words[k][j]), odd);
      }
      c.words[i][j] =
          std::bit_cast<std::uint32_t>(std::bit_cast<float>(c.words[i][j]) + (even + odd));
    }
  }
}

#define TILE_ZERO(t) tiles[t] = {}
#define TILE_LOAD(t, from, bytes) load(tiles[t], from, bytes)
#define TILE_STORE(t, to, bytes) store(tiles[t], to, bytes)
#define TILE_SUM(t, a, b) sum(tiles[t], tiles[a], tiles[b])

void turn_words(const std::uint16_t* from, std::int64_t stride, std::uint32_t* words) {
  for (int r = 0; r < 16; ++r) {
    std::uint32_t row[16];
    std::memcpy(row, from + r * stride, sizeof(row));
    for (int k = 0; k < 16; ++k) words[k * 16 + r] = row[k];
  }
}
void join_rows(const std::uint16_t* first, const std::uint16_t* second, std::uint32_t* words) {
  for (int j = 0; j < 16; ++j) words[j] = std::uint32_t{first[j]} | std::uint32_t{second[j]} << 16U;
}
void begin_tiles() {}
void end_tiles() {}

#include "model/kernels/tiles_body.h"

std::uint16_t take_term(float& x) {
  std::uint16_t term = 0;
  round_bf16(&x, &term, 1);
  x -= low(term);
  return term;
}
template <typename T>
constexpr int kTermsOf = sizeof(T) == sizeof(float) ? 3 : 2;

template <typename T>
void split(const T* from, std::uint16_t* high, std::uint16_t* middle, std::uint16_t* rest) {
  for (std::int64_t i = 0; i < kGroup; ++i) {
    float x = widen_one(from[i]);
    high[i] = take_term(x);
    middle[i] = take_term(x);
    if (kTermsOf < T >> 2) rest[i] = take_term(x);
  }
}
template <typename T>
void join(const T* first, const T* second, std::uint32_t* words, std::int64_t next) {
  for (std::int64_t j = 0; j < kSide; ++j) {
    float x = widen_one(first[j]), y = widen_one(second[j]);
    for (int term = 0; term < kTermsOf<T>; ++term) {
      const std::uint32_t a = take_term(x), b = take_term(y);
      words[term * next + j] = a | b << 16U;
    }
  }
}
void add_row(const float* from, const float* other, float* to, std::int64_t n, bool add) {
  for (std::int64_t j = 0; j < n; ++j) {
    const float sum = from[j] + other[j];
    to[j] = add ? to[j] + sum : sum;
  }
}

#include "model/kernels/split_body.h"

}  // namespace

const TileTable tiles_twin{&linear_few, &linear, &input_grad};
const SplitTable split_twin{&split_few, &split_linear, &split_grad};

}  // namespace lancet::kernels
