// GGUF v3 writer, byte for byte as the gguf library writes: header, padding, then every tensor
// padded to the alignment, the last one too.

#include <bit>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/tensor_file.h"

namespace lancet {
namespace {

constexpr std::size_t kReadableNameBytes = 63;  // ggml holds names in 64 bytes with a NUL

[[noreturn]] void fail_value(std::string_view key, std::string_view what) {
  fail(ErrorKind::kInternal, "gguf", fmt::format("metadata key '{}': {}", printable(key), what));
}

class HeaderText {
 public:
  template <typename T>
  void number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void string(std::string_view text) {
    number(static_cast<std::uint64_t>(text.size()));
    text_ += text;
  }
  void pad(std::uint64_t alignment) { text_.resize(*checked_align(text_.size(), alignment), '\0'); }
  [[nodiscard]] const std::string& text() const& noexcept { return text_; }
  [[nodiscard]] std::string text() && noexcept { return std::move(text_); }

 private:
  std::string text_;
};

/// The narrow integer, or kInternal where the value does not fit.
template <typename T, typename Wide>
void put_integer(HeaderText& out, std::string_view key, Wide value) {
  if (!std::in_range<T>(value)) fail_value(key, fmt::format("{} does not fit its type", value));
  out.number(static_cast<T>(value));
}

template <typename Wide>
void put_element(HeaderText& out, std::string_view key, GgufType type, const Wide& value) {
  if constexpr (std::is_same_v<Wide, std::string>) {
    if (type == GgufType::kString) return out.string(value);
  } else if constexpr (std::is_same_v<Wide, double>) {
    if (type == GgufType::kF32) return out.number(static_cast<float>(value));
    if (type == GgufType::kF64) return out.number(value);
  } else if constexpr (std::is_same_v<Wide, bool>) {
    if (type == GgufType::kBool) return out.number(static_cast<std::uint8_t>(value));
  } else if constexpr (std::is_same_v<Wide, std::uint64_t>) {
    if (type == GgufType::kU8) return put_integer<std::uint8_t>(out, key, value);
    if (type == GgufType::kU16) return put_integer<std::uint16_t>(out, key, value);
    if (type == GgufType::kU32) return put_integer<std::uint32_t>(out, key, value);
    if (type == GgufType::kU64) return out.number(value);
    if (type == GgufType::kBool && value <= 1) return out.number(static_cast<std::uint8_t>(value));
  } else {
    static_assert(std::is_same_v<Wide, std::int64_t>);
    if (type == GgufType::kI8) return put_integer<std::int8_t>(out, key, value);
    if (type == GgufType::kI16) return put_integer<std::int16_t>(out, key, value);
    if (type == GgufType::kI32) return put_integer<std::int32_t>(out, key, value);
    if (type == GgufType::kI64) return out.number(value);
  }
  fail_value(key, fmt::format("its value is not of type {}", gguf_type_name(type)));
}

void put_value(HeaderText& out, std::string_view key, const GgufValue& value) {
  out.string(key);
  out.number(static_cast<std::uint32_t>(value.type));
  std::visit(
      [&]<typename T>(const T& held) {
        if constexpr (requires { typename T::allocator_type; } && !std::is_same_v<T, std::string>) {
          if (value.type != GgufType::kArray) fail_value(key, "a list is not of type array");
          out.number(static_cast<std::uint32_t>(value.element));
          out.number(static_cast<std::uint64_t>(held.size()));
          for (const auto& element : held) put_element(out, key, value.element, element);
        } else {
          put_element(out, key, value.type, held);
        }
      },
      value.value);
}

std::uint64_t alignment_of(const std::vector<std::pair<std::string, GgufValue>>& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const auto* number = std::get_if<std::uint64_t>(&value.value);
    if (number == nullptr || !std::has_single_bit(*number)) fail_value(key, "not a power of two");
    return *number;
  }
  return 32;
}

[[noreturn]] void fail_tensor(const OutputTensor& tensor, const std::string& expected,
                              const std::string& found) {
  fail(ErrorKind::kMismatch, "gguf",
       fmt::format("expected {}, found {} (tensor '{}')", expected, found, printable(tensor.name)),
       "write safetensors instead, or another dtype");
}

std::uint64_t size_of(const OutputTensor& tensor) {
  std::optional<std::uint64_t> elements = 1;
  for (const std::int64_t dim : tensor.shape) {
    elements = dim <= 0 || !elements ? std::nullopt
                                     : checked_mul(*elements, static_cast<std::uint64_t>(dim));
  }
  const auto bytes = elements ? dtype_bytes(tensor.dtype, *elements) : std::nullopt;
  if (!bytes) {
    fail_tensor(tensor,
                fmt::format("dimensions from 1 up that fill whole {} blocks",
                            dtype_info(tensor.dtype).name),
                fmt::format("[{}]", fmt::join(tensor.shape, ", ")));
  }
  return *bytes;
}

/// Appends the table of tensors; returns the padded size of the data section.
std::uint64_t put_tensors(HeaderText& out, const std::vector<OutputTensor>& tensors,
                          std::uint64_t alignment) {
  std::uint64_t offset = 0;
  for (const OutputTensor& tensor : tensors) {
    if (tensor.name.size() > kReadableNameBytes) {
      fail_tensor(tensor, "a name of at most 63 bytes", fmt::to_string(tensor.name.size()));
    }
    const auto id = ggml_id(tensor.dtype);
    if (!id)
      fail_tensor(tensor, "a type that GGUF knows", std::string(dtype_info(tensor.dtype).name));
    out.string(tensor.name);
    out.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) {
      out.number(static_cast<std::uint64_t>(*dim));
    }
    out.number(*id);
    out.number(offset);
    const auto end = checked_add(offset, size_of(tensor));
    const auto padded = end ? checked_align(*end, alignment) : std::nullopt;
    if (!padded) fail_tensor(tensor, "a model of less than 2^64 bytes", "more");
    offset = *padded;
  }
  return offset;
}

/// What is written must be what our own reader accepts.
void check_readable(const std::string& header, std::uint64_t data_bytes, const fs::path& path) {
  try {
    static_cast<void>(
        parse_gguf(std::as_bytes(std::span(header)), header.size() + data_bytes, path.string()));
  } catch (const Error& error) {
    fail(ErrorKind::kMismatch, "gguf", "this model cannot be stored as GGUF: " + error.message());
  }
}

}  // namespace

TensorFile lay_out_gguf(const fs::path& path,
                        const std::vector<std::pair<std::string, GgufValue>>& metadata,
                        std::vector<OutputTensor> tensors) {
  const std::uint64_t alignment = alignment_of(metadata);
  HeaderText header;
  header.number(std::uint32_t{0x46554747});  // "GGUF"
  header.number(std::uint32_t{3});
  header.number(static_cast<std::uint64_t>(tensors.size()));
  header.number(static_cast<std::uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) put_value(header, key, value);
  const std::uint64_t data_bytes = put_tensors(header, tensors, alignment);
  if (!tensors.empty()) header.pad(alignment);
  check_readable(header.text(), data_bytes, path);
  const std::uint64_t total = header.text().size() + data_bytes;
  return {std::move(header).text(), std::move(tensors), alignment, total};
}

std::string save_gguf(const fs::path& path,
                      const std::vector<std::pair<std::string, GgufValue>>& metadata,
                      const std::vector<OutputTensor>& tensors) {
  return save_tensor_file(path, lay_out_gguf(path, metadata, tensors));
}

}  // namespace lancet
