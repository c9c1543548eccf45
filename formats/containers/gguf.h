#pragma once
// GGUF v2/v3: a two-phase reader (spans first, nothing allocated beyond bytes already proven
// present) and a writer. Rules and limits: docs/formats.md.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/bytes.h"
#include "core/file.h"
#include "formats/containers/safetensors.h"  // OutputTensor
#include "formats/tensor_info.h"

namespace lancet {

enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// A metadata value: integers widen to 64 bits; arrays are of one element type.
struct GgufValue {
  GgufType type = GgufType::kU32;
  GgufType element = GgufType::kU32;  ///< of an array
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, std::vector<std::uint64_t>,
               std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>
      value;
};

/// "u8", "string", "array", ... as messages and `inspect` call them.
[[nodiscard]] std::string_view gguf_type_name(GgufType type) noexcept;

class GgufHeader {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::uint64_t data_offset = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata;  ///< in file order
  std::vector<TensorInfo> tensors;  ///< in file order, shapes outermost first

  [[nodiscard]] const GgufValue* find(std::string_view key) const noexcept;
  /// Typed access; a value of another type is Error(kInput) naming the key.
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  [[nodiscard]] double number(std::string_view key, double fallback) const;
  [[nodiscard]] bool boolean(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string string(std::string_view key) const;
  [[nodiscard]] std::string string(std::string_view key, std::string fallback) const;
  [[nodiscard]] const std::vector<std::string>* strings(
      std::string_view key) const;  ///< null where absent
  /// An array of any integer type (token types), or of f32/f64 (scores); empty where absent.
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key) const;
  [[nodiscard]] std::vector<double> numbers(std::string_view key) const;
};

/// `file` must hold the header; `file_size` is the true length. Errors: kInput with key/tensor and
/// offset. Memory: the size of the header plus at most 256 MiB. Tensors lie inside the file and do
/// not overlap.
[[nodiscard]] GgufHeader parse_gguf(Bytes file, std::uint64_t file_size, std::string_view source);

/// Writes a v3 file atomically and returns its SHA-256, tensors in the given order, aligned to
/// `general.alignment` (32 where absent). Errors: kMismatch for what GGUF cannot hold (name of 64
/// bytes or more, five dimensions, rows that do not fill whole blocks, a type without a ggml id);
/// kInternal where `write` emits another number of bytes.
std::string save_gguf(const fs::path& path,
                      const std::vector<std::pair<std::string, GgufValue>>& metadata,
                      const std::vector<OutputTensor>& tensors);

}  // namespace lancet
