#include "formats/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint32_t kNoGgmlId = 0xFFFFFFFFU;

struct Row {
  DTypeInfo info;
  std::uint32_t ggml = kNoGgmlId;
};

// In the order of DType. ggml ids and block sizes: ggml.h of August 2026.
constexpr std::array kRows = {
    Row{{"BOOL", 1, 8, false, false}},
    Row{{"F4", 1, 4, false, true}},
    Row{{"F6_E2M3", 1, 6, false, true}},
    Row{{"F6_E3M2", 1, 6, false, true}},
    Row{{"U8", 1, 8, false, false}},
    Row{{"I8", 1, 8, false, false}, 24},
    Row{{"F8_E5M2", 1, 8, false, true}},
    Row{{"F8_E4M3", 1, 8, false, true}},
    Row{{"F8_E8M0", 1, 8, false, true}},
    Row{{"F8_E4M3FNUZ", 1, 8, false, true}},
    Row{{"F8_E5M2FNUZ", 1, 8, false, true}},
    Row{{"I16", 1, 16, false, false}, 25},
    Row{{"U16", 1, 16, false, false}},
    Row{{"F16", 1, 16, false, true}, 1},
    Row{{"BF16", 1, 16, false, true}, 30},
    Row{{"I32", 1, 32, false, false}, 26},
    Row{{"U32", 1, 32, false, false}},
    Row{{"F32", 1, 32, false, true}, 0},
    Row{{"C64", 1, 64, false, false}},
    Row{{"F64", 1, 64, false, true}, 28},
    Row{{"I64", 1, 64, false, false}, 27},
    Row{{"U64", 1, 64, false, false}},
    Row{{"Q4_0", 32, 18 * 8, true, true}, 2},
    Row{{"Q4_1", 32, 20 * 8, true, true}, 3},
    Row{{"Q5_0", 32, 22 * 8, true, true}, 6},
    Row{{"Q5_1", 32, 24 * 8, true, true}, 7},
    Row{{"Q8_0", 32, 34 * 8, true, true}, 8},
    Row{{"Q2_K", 256, 84 * 8, true, true}, 10},
    Row{{"Q3_K", 256, 110 * 8, true, true}, 11},
    Row{{"Q4_K", 256, 144 * 8, true, true}, 12},
    Row{{"Q5_K", 256, 176 * 8, true, true}, 13},
    Row{{"Q6_K", 256, 210 * 8, true, true}, 14},
    Row{{"Q8_K", 256, 292 * 8, true, true}, 15},
    Row{{"IQ4_NL", 32, 18 * 8, true, true}, 20},
    Row{{"IQ4_XS", 256, 136 * 8, true, true}, 23},
    Row{{"MXFP4", 32, 17 * 8, true, true}, 39},
};
static_assert(kRows.size() == static_cast<std::size_t>(DType::kMXFP4) + 1);

/// What people type besides the names above.
constexpr std::array<std::pair<std::string_view, DType>, 14> kSpoken = {{
    {"float32", DType::kF32},
    {"fp32", DType::kF32},
    {"float", DType::kF32},
    {"float16", DType::kF16},
    {"fp16", DType::kF16},
    {"half", DType::kF16},
    {"bfloat16", DType::kBF16},
    {"float64", DType::kF64},
    {"fp64", DType::kF64},
    {"double", DType::kF64},
    {"int64", DType::kI64},
    {"int32", DType::kI32},
    {"int8", DType::kI8},
    {"uint8", DType::kU8},
}};

}  // namespace

const DTypeInfo& dtype_info(DType dtype) noexcept {
  return kRows[static_cast<std::size_t>(dtype)].info;
}

std::optional<DType> dtype_from_safetensors(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (!kRows[i].info.quantized && kRows[i].info.name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_ggml(std::uint32_t id) noexcept {
  if (id == kNoGgmlId) return std::nullopt;
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].ggml == id) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<std::uint32_t> ggml_id(DType dtype) noexcept {
  const std::uint32_t id = kRows[static_cast<std::size_t>(dtype)].ggml;
  return id == kNoGgmlId ? std::nullopt : std::optional(id);
}

DType parse_dtype(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const auto& [word, dtype] : kSpoken) {
    if (word == lower) return dtype;
  }
  std::string upper(name);
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].info.name == upper) return static_cast<DType>(i);
  }
  const std::vector<std::string_view> known = {"float32", "bfloat16", "float16"};
  const std::string suggestion = did_you_mean(lower, known);
  fail(ErrorKind::kUsage, "dtype",
       "expected float32, bfloat16 or float16, found '" + printable(name, 40) + "'", suggestion);
}

std::optional<std::uint64_t> dtype_bytes(DType dtype, std::uint64_t elements) noexcept {
  const DTypeInfo& info = dtype_info(dtype);
  if (elements % info.block != 0) return std::nullopt;
  const auto bits = checked_mul(elements / info.block, info.block_bits);
  if (!bits || *bits % 8 != 0) return std::nullopt;
  return *bits / 8;
}

}  // namespace lancet
