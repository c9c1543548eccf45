#pragma once
// Checked 64-bit arithmetic and little-endian access. Every size that comes from a file goes
// through here.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace lancet {

using Bytes = std::span<const std::byte>;

/// a + b and a * b, or nothing when the true result does not fit 64 bits.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a,
                                                                 std::uint64_t b) noexcept {
  std::uint64_t out = 0;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_mul(std::uint64_t a,
                                                                 std::uint64_t b) noexcept {
  std::uint64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// Smallest multiple of `alignment` (> 0) that is >= value, or nothing on overflow.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_align(
    std::uint64_t value, std::uint64_t alignment) noexcept {
  const std::uint64_t rest = value % alignment;
  return rest == 0 ? std::optional(value) : checked_add(value, alignment - rest);
}

/// Reads / writes a value at any alignment (x86-64 and arm64 are little-endian, as are our
/// formats).
template <typename T>
requires std::is_trivially_copyable_v<T>
[[nodiscard]] T load_le(const void* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <typename T>
requires std::is_trivially_copyable_v<T>
void store_le(void* at, T value) noexcept { std::memcpy(at, &value, sizeof value); }

/// "1.50 GiB", "812 B".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
/// Parses "2GiB", "512 MB", "1000000", at least 1; throws Error(kUsage).
[[nodiscard]] std::uint64_t parse_bytes(std::string_view text);

}  // namespace lancet
