// Stored values -> float32 and back, against the reference libraries' stored results
// (tests/oracle/make_quant_goldens.py), against slow readings of the definitions, and the vector
// code against the plain code.

#include "formats/quant/decode.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "formats/quant/ggml_blocks.h"
#include "formats/quant/half.h"
#include "formats/quant/simd.h"
#include "tests/catch.h"

namespace lancet {
namespace {

std::string golden(const std::string& name) {
  const char* folder = std::getenv("LANCET_TEST_DATA");
  return read_file(fs::path(folder != nullptr ? folder : LANCET_TEST_DATA) / "quant" / name);
}

std::vector<float> golden_floats(const std::string& name) {
  const std::string text = golden(name);
  std::vector<float> values(text.size() / sizeof(float));
  std::memcpy(values.data(), text.data(), text.size());
  return values;
}

Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

/// Index of the first value whose bits differ (any two NaNs count as equal), or -1.
std::ptrdiff_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool nan = std::isnan(a[i]) && std::isnan(b[i]);
    if (!nan && bits_of(a[i]) != bits_of(b[i])) return static_cast<std::ptrdiff_t>(i);
  }
  return -1;
}

std::vector<std::uint8_t> random_bytes(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint8_t> bytes(count);
  std::uint64_t state = seed;
  for (auto& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<std::uint8_t>(state >> 56);
  }
  return bytes;
}

constexpr DType kDecoded[] = {
    DType::kF16,    DType::kBF16,   DType::kF64,    DType::kU8,         DType::kI8,
    DType::kU16,    DType::kI16,    DType::kU32,    DType::kI32,        DType::kU64,
    DType::kI64,    DType::kF8E4M3, DType::kF8E5M2, DType::kF8E4M3Fnuz, DType::kF8E5M2Fnuz,
    DType::kF8E8M0, DType::kF4,     DType::kF6E2M3, DType::kF6E3M2,     DType::kQ4_0,
    DType::kQ4_1,   DType::kQ5_0,   DType::kQ5_1,   DType::kQ8_0,       DType::kQ2_K,
    DType::kQ3_K,   DType::kQ4_K,   DType::kQ5_K,   DType::kQ6_K,       DType::kQ8_K,
    DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4};

}  // namespace

TEST_CASE("decode: every type gives the reference's values bit for bit", "[decode]") {
  for (const DType dtype : kDecoded) {
    const std::string name(dtype_info(dtype).name);
    INFO(name);
    const std::string stored = golden("decode_" + name + ".stored");
    const std::vector<float> expected = golden_floats("decode_" + name + ".f32");
    REQUIRE(expected.size() >= 64);
    std::vector<float> found(expected.size(), -1.0F);
    decode_f32(dtype, bytes_of(stored), found);
    CHECK(first_difference(found, expected) == -1);
  }
}

TEST_CASE("decode: NaN payloads of F16 and BF16 are the reference's too", "[decode]") {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const std::string name(dtype_info(dtype).name);
    INFO(name);
    const std::string stored = golden("decode_" + name + ".stored");
    const std::string expected = golden("decode_" + name + ".f32");
    std::vector<float> found(expected.size() / sizeof(float));
    decode_f32(dtype, bytes_of(stored), found);
    CHECK(std::memcmp(found.data(), expected.data(), expected.size()) == 0);
  }
}

TEST_CASE("decode: blocks of the plain code give the reference's values bit for bit", "[decode]") {
  for (const DType dtype : kDecoded) {
    BlockDecoder decoder = small_block_decoder(dtype);
    if (decoder == nullptr) decoder = super_block_decoder(dtype);
    CHECK((decoder != nullptr) == dtype_info(dtype).quantized);
    if (decoder == nullptr) continue;
    const std::string name(dtype_info(dtype).name);
    INFO(name);
    const std::string stored = golden("decode_" + name + ".stored");
    const std::vector<float> expected = golden_floats("decode_" + name + ".f32");
    std::vector<float> found(expected.size());
    decoder(reinterpret_cast<const std::uint8_t*>(stored.data()),
            found.size() / dtype_info(dtype).block, found.data());
    CHECK(first_difference(found, expected) == -1);
  }
}

TEST_CASE("decode: the vector code equals the plain code on random blocks at odd addresses",
          "[decode]") {
  if (simd::decoder(DType::kQ4_1) == nullptr) LANCET_SKIP("this processor has no AVX2 with F16C");
  constexpr std::size_t kBlocks = 5000;
  for (const DType dtype : {DType::kQ4_1, DType::kQ8_0}) {
    const std::size_t block_bytes = dtype_info(dtype).block_bits / 8;
    const auto stored = random_bytes(kBlocks * block_bytes + 1, 7);
    std::vector<float> fast(kBlocks * 32);
    std::vector<float> plain(kBlocks * 32);
    simd::decoder(dtype)(stored.data() + 1, kBlocks, fast.data());
    small_block_decoder(dtype)(stored.data() + 1, kBlocks, plain.data());
    CHECK(first_difference(fast, plain) == -1);
  }
}

TEST_CASE("decode: all 65536 halves and bfloat16s are the same in vector and plain code",
          "[decode]") {
  std::vector<std::uint16_t> all(65536 + 5);  // five more: the rest that does not fill a vector
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  std::vector<float> halves(all.size());
  std::vector<float> brains(all.size());
  decode_f32(DType::kF16, std::as_bytes(std::span(all)), halves);
  decode_f32(DType::kBF16, std::as_bytes(std::span(all)), brains);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    wrong += bits_of(halves[i]) != bits_of(f16_to_f32(all[i]));
    wrong += bits_of(brains[i]) != static_cast<std::uint32_t>(all[i]) << 16;
  }
  CHECK(wrong == 0);
}

TEST_CASE("decode: a half is what its definition says, and survives the way to float32 and back",
          "[decode]") {
  std::size_t wrong = 0;
  for (unsigned code = 0; code < 65536; ++code) {
    const auto bits = static_cast<std::uint16_t>(code);
    const float value = f16_to_f32(bits);
    const int exponent = static_cast<int>((code >> 10) & 31U);
    const int mantissa = static_cast<int>(code & 1023U);
    const double sign = (code & 0x8000U) != 0 ? -1.0 : 1.0;
    if (exponent == 31) {
      wrong += mantissa == 0 ? value != sign * std::numeric_limits<double>::infinity()
                             : !std::isnan(value);
    } else {
      const double magnitude =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      wrong += static_cast<double>(value) != sign * magnitude || std::signbit(value) != (sign < 0);
    }
    wrong += f32_to_f16(f16_to_f32(bits)) != bits;  // not `value`: a way through double quiets NaNs
  }
  CHECK(wrong == 0);
}

TEST_CASE(
    "encode: a float32 between two halves goes to the nearer, at the midpoint to the even one",
    "[decode]") {
  std::size_t wrong = 0;
  for (unsigned code = 0; code < 0x7BFF; ++code) {
    const double low = f16_to_f32(static_cast<std::uint16_t>(code));
    const double high = f16_to_f32(static_cast<std::uint16_t>(code + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: one bit more than a half
    const unsigned even = code % 2 == 0 ? code : code + 1;
    wrong += f32_to_f16(middle) != even;
    wrong += f32_to_f16(-middle) != (even | 0x8000U);
    wrong += f32_to_f16(std::nextafter(middle, 0.0F)) != code;
    wrong += f32_to_f16(std::nextafter(middle, 1e9F)) != code + 1;
  }
  CHECK(wrong == 0);
  CHECK(f32_to_f16(65519.996F) == 0x7BFF);
  CHECK(f32_to_f16(65520.0F) == 0x7C00);
  CHECK(f32_to_f16(-1e30F) == 0xFC00);
}

TEST_CASE("encode: F64, F16, BF16 and Q8_0 are the reference's bytes", "[decode]") {
  const std::vector<float> values = golden_floats("encode.f32");
  for (const DType dtype : {DType::kF64, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    const std::string name(dtype_info(dtype).name);
    INFO(name);
    const std::string expected = golden("encode_" + name + ".stored");
    std::string found(expected.size(), '\xAA');
    encode_f32(dtype, values, std::as_writable_bytes(std::span(found)));
    const auto at =
        std::mismatch(found.begin(), found.end(), expected.begin()).first - found.begin();
    CHECK(at == static_cast<std::ptrdiff_t>(expected.size()));
  }
}

TEST_CASE("encode: the vector code for halves equals the plain code, NaNs and rest included",
          "[decode]") {
  const auto encoder = simd::half_encoder();
  if (encoder == nullptr) LANCET_SKIP("this processor has no F16C");
  const auto noise = random_bytes(4 * 200003, 11);
  std::vector<float> values(200003);
  std::memcpy(values.data(), noise.data(), noise.size());
  std::vector<std::uint16_t> fast(values.size());
  encoder(values.data(), values.size(), reinterpret_cast<std::uint8_t*>(fast.data()));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) wrong += fast[i] != half::from_float(values[i]);
  CHECK(wrong == 0);
}

TEST_CASE("encode: F32 is copied, and Q8_0 decodes to within half a step", "[decode]") {
  std::vector<float> values(3200);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::sin(static_cast<float>(i)) * 0.05F;
  std::vector<std::byte> copy(values.size() * 4);
  encode_f32(DType::kF32, values, copy);
  CHECK(std::memcmp(copy.data(), values.data(), copy.size()) == 0);

  std::vector<std::byte> packed(values.size() / 32 * 34);
  encode_f32(DType::kQ8_0, values, packed);
  std::vector<float> back(values.size());
  decode_f32(DType::kQ8_0, packed, back);
  const float step = 0.05F / 127.0F;
  for (std::size_t i = 0; i < values.size(); ++i) {
    REQUIRE(std::fabs(back[i] - values[i]) <= step * 0.5F + 0.05F * 0x1p-11F);
  }
}

TEST_CASE("decode: types that are no numbers and types that we do not write are refused",
          "[decode]") {
  std::vector<float> values(32);
  std::vector<std::byte> bytes(32);
  const auto kind_of = [](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kUsage;
  };
  CHECK(kind_of([&] { decode_f32(DType::kBool, bytes, values); }) == ErrorKind::kMismatch);
  CHECK(kind_of([&] { encode_f32(DType::kQ4_0, values, std::span(bytes).first(18)); }) ==
        ErrorKind::kMismatch);
  CHECK(kind_of([&] { decode_f32(DType::kF32, bytes, values); }) == ErrorKind::kInternal);
  CHECK(kind_of([&] { encode_f32(DType::kF32, values, bytes); }) == ErrorKind::kInternal);
  CHECK(kind_of([&] {
          decode_f32(DType::kQ4_1, Bytes(bytes).first(20), std::span(values).first(31));
        }) == ErrorKind::kInternal);
}

}  // namespace lancet
