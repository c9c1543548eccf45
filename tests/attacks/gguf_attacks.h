#pragma once
// Malformed GGUF files, made in memory. Each is a small valid file with one thing wrong; beside it
// stands what the error message must say.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lancet::attacks {

struct GgufAttack {
  std::string title;
  std::string bytes;
  std::string expected;  ///< a part of the error message
};

// Value type ids of the format.
inline constexpr std::uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5, kF32 = 6,
                               kBool = 7, kString = 8, kArray = 9, kU64 = 10, kI64 = 11, kF64 = 12;

/// Builds a GGUF file field by field, right or wrong.
class GgufBuilder {
 public:
  struct Tensor {
    std::string name = "t.weight";
    std::vector<std::uint64_t> dims = {4, 2};
    std::uint32_t type = 0;  // F32
    std::uint64_t offset = 0;
    std::uint32_t rank = UINT32_MAX;  ///< what the file says; UINT32_MAX = dims.size()
  };

  std::uint32_t magic = 0x46554747;
  std::uint32_t version = 3;
  std::uint64_t tensor_count = UINT64_MAX;  ///< UINT64_MAX - 1 and below are written as they are
  std::uint64_t key_count = UINT64_MAX;
  std::uint64_t alignment = 32;   ///< used for the padding, not written as a key
  std::vector<std::string> keys;  ///< encoded entries
  std::vector<Tensor> tensors;
  std::string data;

  template <typename T>
  static std::string number(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  static std::string text(std::string_view value) {
    return number(static_cast<std::uint64_t>(value.size())) + std::string(value);
  }
  static std::string entry(std::string_view key, std::uint32_t type, const std::string& value) {
    return text(key) + number(type) + value;
  }
  static std::string array(std::uint32_t element, std::uint64_t count,
                           const std::string& elements) {
    return number(element) + number(count) + elements;
  }

  /// Header without padding.
  [[nodiscard]] std::string header() const {
    std::string out = number(magic) + number(version);
    out += number(tensor_count == UINT64_MAX ? std::uint64_t{tensors.size()} : tensor_count);
    out += number(key_count == UINT64_MAX ? std::uint64_t{keys.size()} : key_count);
    for (const auto& key : keys) out += key;
    for (const auto& tensor : tensors) {
      out += text(tensor.name);
      out += number(tensor.rank == UINT32_MAX ? static_cast<std::uint32_t>(tensor.dims.size())
                                              : tensor.rank);
      for (const auto dim : tensor.dims) out += number(dim);
      out += number(tensor.type) + number(tensor.offset);
    }
    return out;
  }

  [[nodiscard]] std::string build() const {
    std::string out = header();
    if (!tensors.empty()) out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    return out + data;
  }
};

/// Two tensors (F32 [2, 4] and Q8_0 [1, 32]), four keys. Every attack starts here.
[[nodiscard]] GgufBuilder small_valid_gguf();

/// All attacks, in a fixed order.
[[nodiscard]] std::vector<GgufAttack> gguf_attacks();

}  // namespace lancet::attacks
