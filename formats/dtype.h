#pragma once
// Every element type and quantised block that lancet reads: the 22 safetensors dtypes and ggml's
// blocks.

#include <cstdint>
#include <optional>
#include <string_view>

namespace lancet {

enum class DType : std::uint8_t {
  // safetensors, in the order of its own enum (which is the writer's alignment order)
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
  // ggml blocks
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ8_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};

struct DTypeInfo {
  std::string_view name;     ///< safetensors spelling ("BF16") or ggml's ("Q4_1")
  std::uint32_t block;       ///< elements per block (1 for plain types)
  std::uint32_t block_bits;  ///< bits per block
  bool quantized;            ///< a ggml block type
  bool floating;             ///< decodes to real numbers
};

[[nodiscard]] const DTypeInfo& dtype_info(DType dtype) noexcept;
[[nodiscard]] std::optional<DType> dtype_from_safetensors(std::string_view name) noexcept;
[[nodiscard]] std::optional<DType> dtype_from_ggml(std::uint32_t id) noexcept;
[[nodiscard]] std::optional<std::uint32_t> ggml_id(DType dtype) noexcept;
/// "float32", "bf16", "F16", ... as typed by people; throws Error(kUsage) with a suggestion.
[[nodiscard]] DType parse_dtype(std::string_view name);
/// Bytes of `elements` values, or nothing if they overflow or do not fill whole blocks / bytes.
[[nodiscard]] std::optional<std::uint64_t> dtype_bytes(DType dtype,
                                                       std::uint64_t elements) noexcept;

}  // namespace lancet
