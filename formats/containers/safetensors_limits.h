#pragma once
// Bounds that the safetensors reader puts on a header; the writer keeps them too.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lancet::safetensors_limits {

inline constexpr std::uint64_t kMaxHeader =
    100'000'000;  ///< bytes of JSON (the format's own limit)
inline constexpr std::uint64_t kMaxDimension = 1ULL << 48;
inline constexpr std::size_t kMaxRank = 16;
inline constexpr std::size_t kMaxTensors = 1U << 20;
inline constexpr std::size_t kMaxName = 4096;               ///< bytes
inline constexpr std::uint64_t kMaxMetadata = 16ULL << 20;  ///< bytes of keys and values

/// Why a tensor may not bear this name (too long, control characters, a path), or "".
[[nodiscard]] std::string tensor_name_problem(std::string_view name);

}  // namespace lancet::safetensors_limits
