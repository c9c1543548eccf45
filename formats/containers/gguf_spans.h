#pragma once
// Phase 1 of the GGUF reader: what stands where in the header, checked but not yet made into
// values.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "formats/containers/gguf.h"
#include "formats/containers/gguf_cursor.h"

namespace lancet::gguf {

inline constexpr std::uint32_t kMaxDims = 4;

struct KeySpan {
  std::string_view key;
  std::uint64_t at = 0;     ///< offset of the entry
  std::uint64_t value = 0;  ///< offset of the value's bytes (of an array: of its first element)
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;
  std::uint64_t count = 0;
};

struct TensorSpan {
  std::string_view name;
  std::uint64_t at = 0;
  std::array<std::uint64_t, kMaxDims> dims{};  ///< fastest first
  std::uint32_t rank = 0;
  std::uint32_t type = 0;
  std::uint64_t offset = 0;  ///< from the start of the data section
};

struct Spans {
  std::uint32_t version = 0;
  std::vector<KeySpan> keys;
  std::vector<TensorSpan> tensors;
  std::uint64_t end = 0;  ///< first byte after the header
};

/// Bytes of a fixed-size value; 0 for strings and arrays.
[[nodiscard]] std::uint64_t width_of(GgufType type) noexcept;

/// Walks the whole header. Checked: magic, version, counts, lengths, type ids, names (rules,
/// duplicates), UTF-8, dimensions' number, and the memory that the values will take. Not yet:
/// bools, alignment, shapes, offsets.
[[nodiscard]] Spans read_spans(Cursor& in);

}  // namespace lancet::gguf
