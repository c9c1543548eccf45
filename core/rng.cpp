#include "core/rng.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/dispatch.h"

namespace lancet {
namespace {

using Block = std::array<std::uint32_t, 4>;

constexpr std::uint64_t kFnvOffset = 0xcbf29ce484222325ULL;
constexpr std::uint64_t kFnvPrime = 0x100000001b3ULL;

/// FNV-1a 64 over the seed's eight little-endian bytes and the name, finalised with splitmix64.
std::uint64_t stream_key(std::uint64_t seed, std::string_view name) noexcept {
  std::uint64_t hash = kFnvOffset;
  for (int i = 0; i < 8; ++i) hash = (hash ^ ((seed >> (8 * i)) & 0xff)) * kFnvPrime;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * kFnvPrime;
  hash += 0x9e3779b97f4a7c15ULL;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
  return hash ^ (hash >> 31);
}

constexpr std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
constexpr std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }

Block block_at(std::uint64_t index, std::array<std::uint32_t, 2> upper, std::uint32_t domain,
               std::array<std::uint32_t, 2> key) noexcept {
  return philox4x32({low(index), high(index), upper[0], upper[1] + domain}, key);
}

constexpr std::uint64_t top53(std::uint32_t hi, std::uint32_t lo) {
  return ((static_cast<std::uint64_t>(hi) << 32) | lo) >> 11;
}

/// out[i] = unit_float(in[i]).
struct UnitFloats {
  LANCET_BODY static void run(float* __restrict out, const std::uint32_t* __restrict in,
                              std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
      out[i] = static_cast<float>(static_cast<std::int32_t>(in[i] >> 8)) * 0x1p-24F;
  }
};

float unit_float(std::uint32_t bits) noexcept { return static_cast<float>(bits >> 8) * 0x1p-24F; }

/// Both Box-Muller normals of a block: radius from words 0 and 1, angle from words 2 and 3.
std::array<float, 2> normal_pair(const Block& words) noexcept {
  const double u = static_cast<double>(top53(words[0], words[1]) + 1) * 0x1p-53;
  const double angle =
      2 * std::numbers::pi * (static_cast<double>(top53(words[2], words[3])) * 0x1p-53);
  const double radius = std::sqrt(-2 * std::log(u));
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

}  // namespace

Random::Random(std::uint64_t seed, std::string_view name, std::uint32_t source) noexcept
    : key_{}, high_{source, 0} {
  const std::uint64_t key = stream_key(seed, name);
  key_ = {low(key), high(key)};
}

std::uint32_t Random::bits(std::uint64_t element) const noexcept {
  return block_at(element / 4, high_, kBits, key_)[element % 4];
}

float Random::uniform(std::uint64_t element) const noexcept { return unit_float(bits(element)); }

double Random::uniform64(std::uint64_t element) const noexcept {
  const Block words = block_at(element / 2, high_, kWide, key_);
  const std::size_t lane = 2 * (element % 2);
  return static_cast<double>(top53(words[lane], words[lane + 1])) * 0x1p-53;
}

float Random::normal(std::uint64_t element) const noexcept {
  return normal_pair(block_at(element / 2, high_, kNormal, key_))[element % 2];
}

void Random::fill_bits(std::uint64_t first, std::span<std::uint32_t> out) const noexcept {
  std::size_t at = 0;
  for (; at < out.size() && (first + at) % 4 != 0; ++at) out[at] = bits(first + at);
  const std::size_t blocks = (out.size() - at) / 4;
  philox_run(out.data() + at, (first + at) / 4, blocks, {high_[0], high_[1] + kBits}, key_);
  for (at += 4 * blocks; at < out.size(); ++at) out[at] = bits(first + at);
}

void Random::fill_uniform(std::uint64_t first, std::span<float> out) const noexcept {
  std::array<std::uint32_t, 1024> words{};
  for (std::size_t at = 0; at < out.size(); at += words.size()) {
    const std::size_t n = std::min(words.size(), out.size() - at);
    fill_bits(first + at, std::span(words).first(n));
    dispatch<UnitFloats>(out.data() + at, static_cast<const std::uint32_t*>(words.data()), n);
  }
}

void Random::fill_normal(std::uint64_t first, std::span<float> out) const noexcept {
  std::array<float, 2> pair{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t element = first + i;
    if (i == 0 || element % 2 == 0) {
      pair = normal_pair(block_at(element / 2, high_, kNormal, key_));
    }
    out[i] = pair[element % 2];
  }
}

}  // namespace lancet
