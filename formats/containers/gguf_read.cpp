// GGUF v2/v3 reader, phase 2: values and tensors out of the spans that phase 1 (gguf_spans.cpp) has
// checked. Stricter than ggml's reader: bool only 0 or 1, UTF-8 everywhere, no control characters
// or ".." in names, no zero dimension, no bytes after the last tensor.

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "formats/containers/gguf.h"
#include "formats/containers/gguf_cursor.h"
#include "formats/containers/gguf_spans.h"

namespace lancet {
namespace {

using gguf::Cursor;
using gguf::KeySpan;
using gguf::Spans;
using gguf::TensorSpan;
using gguf::width_of;

constexpr std::uint64_t kMaxAlignment = 1ULL << 20;

struct ForeignType {
  std::uint32_t id;
  std::string_view name;
};

/// ggml's types that lancet does not read.
constexpr std::array kForeignTypes = {
    ForeignType{4, "Q4_2, removed from ggml"},
    ForeignType{5, "Q4_3, removed from ggml"},
    ForeignType{9, "Q8_1"},
    ForeignType{16, "IQ2_XXS"},
    ForeignType{17, "IQ2_XS"},
    ForeignType{18, "IQ3_XXS"},
    ForeignType{19, "IQ1_S"},
    ForeignType{21, "IQ3_S"},
    ForeignType{22, "IQ2_S"},
    ForeignType{29, "IQ1_M"},
    ForeignType{31, "Q4_0_4_4, removed from ggml"},
    ForeignType{32, "Q4_0_4_8, removed from ggml"},
    ForeignType{33, "Q4_0_8_8, removed from ggml"},
    ForeignType{34, "TQ1_0"},
    ForeignType{35, "TQ2_0"},
    ForeignType{36, "IQ4_NL_4_4, removed from ggml"},
    ForeignType{37, "IQ4_NL_4_8, removed from ggml"},
    ForeignType{38, "IQ4_NL_8_8, removed from ggml"},
    ForeignType{40, "NVFP4"},
    ForeignType{41, "Q1_0"},
    ForeignType{42, "Q2_0"},
};

/// One integer of a fixed-size type, widened.
std::uint64_t read_unsigned(Cursor& in, GgufType type) {
  switch (width_of(type)) {
    case 1:
      return in.number<std::uint8_t>("value");
    case 2:
      return in.number<std::uint16_t>("value");
    case 4:
      return in.number<std::uint32_t>("value");
    default:
      return in.number<std::uint64_t>("value");
  }
}

std::int64_t read_signed(Cursor& in, GgufType type) {
  switch (width_of(type)) {
    case 1:
      return in.number<std::int8_t>("value");
    case 2:
      return in.number<std::int16_t>("value");
    case 4:
      return in.number<std::int32_t>("value");
    default:
      return in.number<std::int64_t>("value");
  }
}

double read_float(Cursor& in, GgufType type) {
  return type == GgufType::kF32 ? static_cast<double>(in.number<float>("value"))
                                : in.number<double>("value");
}

bool read_bool(Cursor& in) {
  const std::uint64_t at = in.offset();
  const auto byte = in.number<std::uint8_t>("value");
  if (byte > 1) in.reject(at, "a bool of 0 or 1", fmt::to_string(byte));
  return byte == 1;
}

template <typename T, typename Read>
std::vector<T> read_many(std::uint64_t count, Read read) {
  std::vector<T> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(read());
  return values;
}

GgufValue read_value(Cursor& in, const KeySpan& span) {
  GgufValue result{span.type, span.element, {}};
  in.seek(span.value);
  const bool array = span.type == GgufType::kArray;
  const GgufType type = array ? span.element : span.type;
  const auto store = [&]<typename T>(T /*kind*/, auto read) {
    if (array) {
      result.value = read_many<T>(span.count, read);
    } else {
      result.value = T(read());
    }
  };
  switch (type) {
    case GgufType::kU8:
    case GgufType::kU16:
    case GgufType::kU32:
    case GgufType::kU64:
      store(std::uint64_t{}, [&] { return read_unsigned(in, type); });
      break;
    case GgufType::kI8:
    case GgufType::kI16:
    case GgufType::kI32:
    case GgufType::kI64:
      store(std::int64_t{}, [&] { return read_signed(in, type); });
      break;
    case GgufType::kF32:
    case GgufType::kF64:
      store(double{}, [&] { return read_float(in, type); });
      break;
    case GgufType::kBool:
      if (array) {
        result.value =
            read_many<std::uint64_t>(span.count, [&] { return std::uint64_t{read_bool(in)}; });
      } else {
        result.value = read_bool(in);
      }
      break;
    case GgufType::kString:
    case GgufType::kArray:
      store(std::string{}, [&] { return std::string(in.text("string")); });
      break;
  }
  return result;
}

std::uint64_t read_alignment(Cursor& in, const Spans& spans) {
  for (const KeySpan& span : spans.keys) {
    if (span.key != "general.alignment") continue;
    in.set_subject("key 'general.alignment'");
    if (span.type != GgufType::kU32) {
      in.reject(span.at, "an alignment of type u32", std::string(gguf_type_name(span.type)));
    }
    in.seek(span.value);
    const std::uint64_t alignment = in.number<std::uint32_t>("value");
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
      in.reject(span.value,
                fmt::format("an alignment that is a power of two up to {}", kMaxAlignment),
                fmt::to_string(alignment));
    }
    in.set_subject({});
    return alignment;
  }
  return 32;
}

DType check_type(Cursor& in, const TensorSpan& span) {
  if (const auto dtype = dtype_from_ggml(span.type)) return *dtype;
  const auto* foreign = std::ranges::find(kForeignTypes, span.type, &ForeignType::id);
  if (foreign == kForeignTypes.end()) {
    in.reject(span.at, "a tensor type of ggml", fmt::format("type {}", span.type));
  }
  in.reject(span.at, "a tensor type that lancet reads",
            fmt::format("type {} ({})", span.type, foreign->name),
            "quantise the model anew, for example to Q8_0 or Q4_K");
}

/// Shape (outermost first), element count and byte size, each checked.
TensorInfo describe(Cursor& in, const TensorSpan& span) {
  TensorInfo info;
  info.name = std::string(span.name);
  info.dtype = check_type(in, span);
  std::uint64_t elements = 1;
  for (std::uint32_t i = 0; i < span.rank; ++i) {
    const std::uint64_t dim = span.dims[i];
    const auto product = checked_mul(elements, dim);
    if (dim == 0 || dim > INT64_MAX || !product || *product > INT64_MAX) {
      in.reject(
          span.at, "dimensions from 1 up, of less than 2^63 elements in all",
          fmt::format("[{}]", fmt::join(span.dims.begin(), span.dims.begin() + span.rank, ", ")));
    }
    elements = *product;
    info.shape.push_back(static_cast<std::int64_t>(dim));
  }
  std::ranges::reverse(info.shape);
  const std::uint64_t row = span.rank == 0 ? 1 : span.dims[0];
  const DTypeInfo& type = dtype_info(info.dtype);
  if (row % type.block != 0) {
    in.reject(span.at, fmt::format("rows of whole {} blocks of {}", type.name, type.block),
              fmt::format("rows of {} elements", row));
  }
  const auto bytes = dtype_bytes(info.dtype, elements);
  if (!bytes) {
    in.reject(span.at, "a tensor of less than 2^64 bytes",
              fmt::format("{} elements of {}", elements, type.name));
  }
  info.bytes = *bytes;
  return info;
}

/// Places the tensors one behind the other, each at the next multiple of the alignment, and
/// compares with what the file says. Returns the end of the last one, from the start of the data
/// section.
std::uint64_t place_tensors(Cursor& in, const Spans& spans, std::uint64_t file_size,
                            GgufHeader& header) {
  const std::uint64_t room = file_size > header.data_offset ? file_size - header.data_offset : 0;
  std::uint64_t end = 0;
  header.tensors.reserve(spans.tensors.size());
  for (const TensorSpan& span : spans.tensors) {
    in.set_subject(fmt::format("tensor '{}'", printable(span.name)));
    TensorInfo info = describe(in, span);
    const auto begin = checked_align(end, header.alignment);
    if (!begin || span.offset != *begin) {
      in.reject(span.at,
                fmt::format("the tensor's data at offset {} of the data section, right behind the "
                            "one before it",
                            begin.value_or(UINT64_MAX)),
                fmt::to_string(span.offset));
    }
    const auto next = checked_add(*begin, info.bytes);
    if (!next || *next > room) {
      in.reject(span.at, fmt::format("{} bytes of data at offset {}", info.bytes, span.offset),
                fmt::format("a data section of {} bytes", room),
                "the file is truncated or damaged: fetch it again");
    }
    end = *next;
    info.offset = header.data_offset + *begin;  // inside the file: no overflow
    header.tensors.push_back(std::move(info));
  }
  in.set_subject({});
  return end;
}

/// Nothing may follow the padding behind the last tensor.
void check_end(Cursor& in, const GgufHeader& header, std::uint64_t data_end,
               std::uint64_t file_size) {
  const auto end = checked_add(header.data_offset, data_end);
  const auto padded = end ? checked_align(*end, header.alignment) : std::nullopt;
  if (padded && file_size <= *padded) return;
  in.reject(padded.value_or(UINT64_MAX), "the end of the file behind the last tensor",
            fmt::format("{} bytes more", file_size - padded.value_or(file_size)));
}

}  // namespace

GgufHeader parse_gguf(Bytes file, std::uint64_t file_size, std::string_view source) {
  Cursor in(file, source);
  const Spans spans = gguf::read_spans(in);

  GgufHeader header;
  header.version = spans.version;
  header.alignment = read_alignment(in, spans);
  header.data_offset = (spans.end + header.alignment - 1) / header.alignment * header.alignment;
  const std::uint64_t data_end = place_tensors(in, spans, file_size, header);
  check_end(in, header, data_end, file_size);

  header.metadata.reserve(spans.keys.size());
  for (const KeySpan& span : spans.keys) {
    in.set_subject(fmt::format("key '{}'", printable(span.key)));
    header.metadata.emplace_back(std::string(span.key), read_value(in, span));
  }
  return header;
}

}  // namespace lancet
